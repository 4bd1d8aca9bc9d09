"""Promises about exits: what is recorded is what happened, and was seen by whoever is named."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.log import Row
from tests.faults.oracle.records import Damaged, exit_of
from tests.faults.oracle.report import Violation
from tests.faults.oracle.truth import inflicted, last_sign_of_life, last_words

SLACK_NS = 5_000_000  # the two clocks are not read at once
TICKS_SECONDS = 0.1  # processors' time is counted by ticks
REAPERS = {"shim record": "shim", "pidfd": "init", "none": "nobody"}


def check_exits(case: Case) -> Iterator[Violation]:
    """Every recorded exit against the ledger, the faults, and the shim's own record."""
    for attempt in case.attempts:
        if attempt.end is not None:
            yield from _exit(case, attempt, attempt.end)
            yield from _time(case, attempt, attempt.end)
            yield from _source(case, attempt, attempt.end)
            yield from _resources(case, attempt, attempt.end)
        yield from _records(case, attempt)


def _exit(case: Case, attempt: Attempt, end: Row) -> Iterator[Violation]:
    recorded = exit_of(end.body.get("exit", {}))
    if recorded is None:
        return
    told = last_words(case, attempt)
    possible = told | inflicted(case, attempt)
    is_known = case.tells(attempt) or case.start(attempt) is not None
    if is_known and recorded not in possible:
        shim_says = exit_of(case.record(attempt, "exit")) or exit_of(case.record(attempt, "main"))
        if recorded == ("signal", 9) and shim_says == recorded and not told:
            yield _of(end, "signal after event", "a SIGKILL ended it that no event and no fault announces")
        else:
            yield _of(end, "true exit", f"{_text(recorded)} is recorded; possible: {_all(possible)}")
    if end.body.get("oom_killed") and not any(fault.kind == "oom" for fault in case.done_to(attempt)):
        yield _of(end, "true exit", "the memory killer is recorded, and was not at work")


def _time(case: Case, attempt: Attempt, end: Row) -> Iterator[Violation]:
    if case.has_clock_fault:
        return
    spoke = last_sign_of_life(case, attempt)
    if spoke > case.boottime(end.recorded_at) + SLACK_NS:
        late = (spoke - case.boottime(end.recorded_at)) / 1e6
        yield _of(end, "alive is not ended", f"its process spoke {late:.1f} ms after its end was recorded")
    ended_at = end.body.get("ended_at")
    if ended_at is not None and spoke > case.boottime(ended_at) + SLACK_NS:
        early = (spoke - case.boottime(ended_at)) / 1e6
        yield _of(end, "true exit", f"it is said to have ended {early:.1f} ms before its last word")
    if ended_at is not None and ended_at > end.recorded_at:
        yield _of(end, "true exit", "it is said to have ended after that was recorded")


def _source(case: Case, attempt: Attempt, end: Row) -> Iterator[Violation]:
    exit_, source = end.body.get("exit", {}), end.body.get("source")
    recorded = exit_of(exit_)
    if recorded is not None and source not in ("shim record", "pidfd"):
        yield _of(end, "true exit", f"{_text(recorded)} is recorded, and nobody saw it (source: {source})")
    if source == "pidfd" and recorded is None:
        yield _of(end, "true exit", "a pidfd is named as the source of an exit that is unknown")
    if REAPERS.get(str(source)) != end.body.get("reaped_by") and not end.body.get("is_recovered"):
        yield _of(
            end, "true exit", f"{end.body.get('reaped_by')} is said to have reaped it, seen by {source}"
        )
    if any(fault.spoils_records for fault in case.done_to(attempt)):
        return
    seen = exit_of(case.record(attempt, "exit")) or exit_of(case.record(attempt, "main"))
    if recorded is not None and seen is not None and seen != recorded:
        yield _of(end, "true exit", f"{_text(recorded)} is recorded; its shim wrote {_text(seen)}")
    if source == "shim record" and recorded is not None and seen is None:
        yield _of(end, "true exit", "its shim's record is named as the source, and there is none")
    if source == "pidfd" and not any(fault.takes_shim_away for fault in case.done_to(attempt)):
        yield _of(end, "true exit", "its exit comes from a pidfd, and nothing was done to its shim")


def _resources(case: Case, attempt: Attempt, end: Row) -> Iterator[Violation]:
    """What is said to have been used is what the shim counted, and no more than there was time for."""
    used, spawning = end.body.get("resources"), attempt.first("SPAWNING")
    if used is None or spawning is None:
        return
    if not any(fault.spoils_records for fault in case.done_to(attempt)):
        record = case.record(attempt, "exit") or case.record(attempt, "main")
        counted = record.get("rusage") or {}
        seen = [counted.get(name, 0) / 1e6 for name in ("utime_us", "stime_us")]
        if [used.get("user_seconds"), used.get("system_seconds")] != seen:
            yield _of(end, "true exit", f"it used {used}; its shim counted {counted or 'nothing'}")
    seconds = used.get("user_seconds", 0.0) + used.get("system_seconds", 0.0)
    most = (end.recorded_at - spawning.recorded_at) / 1e6 * (os.cpu_count() or 1)
    if seconds > most + TICKS_SECONDS and not case.has_clock_fault:
        yield _of(end, "true exit", f"it used {seconds} s of processors, and there were {most:.3f} s")


def _records(case: Case, attempt: Attempt) -> Iterator[Violation]:
    for name in ("identity", "exec", "main", "exit", "sweep"):
        found = case.record_or_damage(attempt, name)
        if isinstance(found, Damaged) and not any(fault.spoils_records for fault in case.done_to(attempt)):
            evidence = f"{name}.json cannot be trusted ({found}), and nobody has damaged it"
            yield Violation("true exit", evidence, None, attempt.agent, attempt.number)


def _all(ends: set[tuple[str, int]]) -> str:
    return ", ".join(sorted(map(_text, ends))) or "none that anybody knows of"


def _text(end: tuple[str, int]) -> str:
    return f"{end[0]} {end[1]}"


def _of(row: Row, promise: str, evidence: str) -> Violation:
    return Violation(promise, evidence, row.position, row.agent, row.attempt)
