"""The promise that a stop goes through its stages, and waits as long as was granted before each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation

SLACK_US = 1000  # times are rounded
LONG_SECONDS = 2.0
STAGES = ("SIGTERM_SENT", "SIGKILL_SENT", "STOP_TIMED_OUT")


def check_stages(case: Case) -> Iterator[Violation]:
    """Every stop; its times are not judged where the log could not be written, and says afterwards what was done."""
    if case.has_clock_fault or any(fault.spoils_log for fault in case.faults):
        return
    for attempt in case.attempts:
        yield from _granted(case, attempt)
        yield from _taken(attempt)
        yield from _heard(case, attempt)


def _granted(case: Case, attempt: Attempt) -> Iterator[Violation]:
    """The waits that are recorded are those that somebody asked for, or the spec's."""
    spawning = attempt.first("SPAWNING")
    spec: dict[str, Any] = {} if spawning is None else spawning.body.get("spec", {})
    name = case.agents[attempt.agent].name
    asked = [
        ask.grace for ask in case.asks if ask.kind in ("stop", "kill") and ask.is_about(attempt.agent, name)
    ]
    if () in asked:
        return
    allowed = [list(spec.get("stop_grace_seconds", ())), *[list(grace) for grace in asked if grace]]
    for row in attempt.of("STOP_REQUESTED"):
        if row.body.get("grace_seconds") not in allowed:
            yield _of(row, f"waits of {row.body.get('grace_seconds')} s are granted; asked for: {allowed}")


def _taken(attempt: Attempt) -> Iterator[Violation]:
    """Each stage has the wait that was granted, and the next one comes when it is over."""
    requests: list[Row] = []
    before: Row | None = None
    for row in attempt.rows:
        if row.type == "STOP_REQUESTED":
            requests.append(row)
            if row.body.get("forced"):
                before = None  # at once
        elif row.type in STAGES and requests:
            yield from _stage_taken(requests, before, row)
            before = row


def _stage_taken(requests: list[Row], before: Row | None, row: Row) -> Iterator[Violation]:
    if before is not None and row.recorded_at < before.body.get("deadline_at", 0) - SLACK_US:
        early = (before.body["deadline_at"] - row.recorded_at) / 1e6
        yield _of(row, f"{row.type} came {early:.3f} s before the wait after {before.type} was over")
    if row.type == "STOP_TIMED_OUT":
        return
    granted: list[list[float]] = [request.body.get("grace_seconds", []) for request in requests]
    waits = (row.body.get("deadline_at", 0) - row.occurred_at) / 1e6
    if not any(abs(waits - one[_stage(row) - 1]) * 1e6 <= SLACK_US for one in granted):
        yield _of(row, f"{waits:.3f} s are waited after {row.type}; granted: {granted}")
    first = 3 if requests[-1].body.get("forced") else 1
    expected = first if before is None else _stage(before) + 1
    if _stage(row) != expected:
        yield _of(row, f"{row.type} is stage {_stage(row)}, and stage {expected} was to come")


def _heard(case: Case, attempt: Attempt) -> Iterator[Violation]:
    """Whom stage 2 found, stage 3 finds warned, where there was time to say so on a busy machine."""
    requests, kill = attempt.of("STOP_REQUESTED"), attempt.first("SIGKILL_SENT")
    second = next((row for row in attempt.of("SIGTERM_SENT") if row.body.get("stage") == 2), None)
    if kill is None or second is None or requests[-1].body["grace_seconds"][1] < LONG_SECONDS:
        return
    begun, over = case.boottime(requests[0].recorded_at), case.boottime(kill.recorded_at)
    if case.done_to(attempt) or any(begun <= fault.at <= over for fault in case.faults):
        return
    key = (attempt.agent, attempt.number)
    there = {line.pid for line in case.told(key, "FORK") if line.at < case.boottime(second.recorded_at)}
    heard = {line.pid for line in case.told(key, "SIG") if line.words[0] == "15"}
    for pid in sorted(there - heard):
        yield _of(second, f"pid {pid}, forked before, got no SIGTERM in {LONG_SECONDS} s")


def _stage(row: Row) -> int:
    return 3 if row.type == "SIGKILL_SENT" else int(row.body.get("stage", 0))


def _of(row: Row, evidence: str) -> Violation:
    return Violation("stages in time", evidence, row.position, row.agent, row.attempt)
