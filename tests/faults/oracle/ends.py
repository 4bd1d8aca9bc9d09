"""Promises about ends: one an attempt, with the outcome that follows from the exit and from what was asked."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import FINAL, Attempt
from tests.faults.oracle.log import Row
from tests.faults.oracle.records import exit_of
from tests.faults.oracle.report import Violation

FILE_SLACK_NS = 50_000_000  # a file's time is that of the last tick


def check_ends(case: Case) -> Iterator[Violation]:
    """Every attempt's end in the log."""
    for attempt in case.attempts:
        yield from _once(case, attempt)
        yield from _missed(case, attempt)
        yield from _meaning(case, attempt)


def _once(case: Case, attempt: Attempt) -> Iterator[Violation]:
    ends = attempt.of("ZOMBIE_REAPED")
    for row in ends[1:]:
        yield _of(row, "one end", f"it had ended at {ends[0].position} already")
    later = attempt.first("RESTART_SCHEDULED")
    outcomes = [row for row in attempt.of(*FINAL) if later is None or row.position < later.position]
    for row in outcomes[1:]:
        yield _of(row, "one end", f"{outcomes[0].type} had ended it at {outcomes[0].position} already")
    started = attempt.first("STARTED")
    for row in ends:
        if started is None or started.position > row.position:
            yield _of(row, "one end", "it ended before it was started")
    for row in outcomes:
        if started is not None and (not ends or ends[0].position > row.position):
            yield _of(row, "one end", f"{row.type} of a process whose end is not recorded")
    if attempt.number < case.agents[attempt.agent].current and not outcomes:
        yield _about(attempt, "one end", "another attempt follows, and this one has no end in the log")


def _missed(case: Case, attempt: Attempt) -> Iterator[Violation]:
    """The shim's record of an exit was there before a coordinator came that left in good order."""
    body = case.record(attempt, "exit")
    if attempt.is_over or not body or any(fault.spoils_log for fault in case.faults):
        return
    written = (case.directory(attempt) / "exit.json").stat().st_mtime_ns + FILE_SLACK_NS
    for begun in case.rows:
        if begun.type == "COORDINATOR_STARTED" and begun.recorded_at * 1000 > written:
            for stopped in case.rows:
                if stopped.type == "COORDINATOR_STOPPED" and stopped.epoch == begun.epoch:
                    evidence = f"its exit was on disk when epoch {begun.epoch} began, and was not recorded"
                    yield _about(attempt, "one end", evidence)
                    return


def _meaning(case: Case, attempt: Attempt) -> Iterator[Violation]:
    row = attempt.outcome
    if row is None:
        return
    told = (row.type, row.body.get("cause") if row.type == "FAILED" else None)
    if attempt.end is None:
        if told not in (("FAILED", "failed start"), ("LOST", None)) or attempt.first("STARTED"):
            yield _of(row, "meaning of the end", f"{_text(told)} of an attempt that has no exit")
        elif told[0] == "FAILED" and (start := case.start(attempt)) is not None:
            yield _of(row, "meaning of the end", f"a failed start, and its program ran with pid {start.pid}")
        return
    expected = meaning(case, attempt)
    if told != expected:
        yield _of(row, "meaning of the end", f"{_text(told)} is recorded, {_text(expected)} follows")


def meaning(case: Case, attempt: Attempt) -> tuple[str, str | None]:
    """The outcome, and the cause of a failure, that follow from an attempt's exit and from what was asked."""
    assert attempt.end is not None
    exit_ = exit_of(attempt.end.body.get("exit", {}))
    spawning = attempt.first("SPAWNING")
    spec = {} if spawning is None else spawning.body.get("spec", {})
    stop = attempt.stop
    if exit_ is None:
        return "LOST", None
    if stop is not None and stop.body.get("cause") in ("limit", "health"):
        return "FAILED", str(stop.body["cause"])
    if stop is not None:
        was_killed = exit_ == ("signal", 9) or spec.get("until") == "tree"
        return ("KILLED" if attempt.of("SIGKILL_SENT") and was_killed else "CANCELLED"), None
    if exit_[0] == "code" and exit_[1] in spec.get("success_codes", [0]):
        return "COMPLETED", None
    if attempt.first("RUNNING") is None:
        return "FAILED", "failed start"
    if exit_ == ("signal", 9) and attempt.end.body.get("oom_killed"):
        return "FAILED", "oom"
    return "FAILED", "exit" if exit_[0] == "code" else "signal"


def _text(told: tuple[str, str | None]) -> str:
    return told[0] if told[1] is None else f"{told[0]} ({told[1]})"


def _of(row: Row, promise: str, evidence: str) -> Violation:
    return Violation(promise, evidence, row.position, row.agent, row.attempt)


def _about(attempt: Attempt, promise: str, evidence: str) -> Violation:
    row = attempt.rows[-1]
    return Violation(promise, evidence, row.position, attempt.agent, attempt.number)
