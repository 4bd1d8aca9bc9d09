"""Promises about beginnings: the intent first, one start, the process that was recorded is the one that ran."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.ledger import Start
from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation
from tests.faults.oracle.truth import inflicted

SLACK_NS = 5_000_000  # the two clocks are not read at once
FILE_SLACK_NS = 50_000_000  # a file's time is that of the last tick


def check_starts(case: Case) -> Iterator[Violation]:
    """Every START line against the log and the attempt's directory."""
    seen: dict[tuple[str, int], Start] = {}
    for start in case.starts:
        if start.key in seen:
            yield _of(start, "one start", f"pids {seen[start.key].pid} and {start.pid} both ran it")
            continue
        seen[start.key] = start
        yield from _intent(case, start)
        yield from _identity(case, start)
        yield from _presence(case, start)
    yield from _one_at_a_time(case)
    for attempt in case.attempts:
        started = attempt.first("STARTED")
        if started is not None and not any(fault.spoils_records for fault in case.done_to(attempt)):
            yield from _recorded(case, attempt, started)


def _recorded(case: Case, attempt: Attempt, started: Row) -> Iterator[Violation]:
    """A start is recorded with the identity that is on disk, and of a program that ran."""
    on_disk, recorded = case.record(attempt, "identity"), attempt.process or {}
    if not on_disk:
        evidence = "STARTED is recorded, and no identity was written"
        yield Violation("intent before exec", evidence, started.position, attempt.agent, attempt.number)
    for name, value in recorded.items():
        if on_disk and on_disk.get(name) != value:
            evidence = f"STARTED says {name} {value}, identity.json {on_disk.get(name)}"
            yield Violation("true identity", evidence, started.position, attempt.agent, attempt.number)
    # Before its first line only something that was done to it keeps an agent from writing it.
    if (
        case.tells(attempt)
        and case.start(attempt) is None
        and attempt.is_over
        and not inflicted(case, attempt)
    ):
        evidence = "STARTED is recorded, and the program never spoke"
        yield Violation("true identity", evidence, started.position, attempt.agent, attempt.number)


def _intent(case: Case, start: Start) -> Iterator[Violation]:
    attempt = case.attempt(start.key)
    spawning = None if attempt is None else attempt.first("SPAWNING")
    if attempt is None or spawning is None:
        yield _of(start, "intent before exec", f"pid {start.pid} ran, and the log has no SPAWNING of it")
        return
    recorded = case.boottime(spawning.recorded_at)
    if recorded > start.at + SLACK_NS and not case.has_clock_fault:
        late = (recorded - start.at) / 1e6
        yield _of(
            start,
            "intent before exec",
            f"SPAWNING was recorded {late:.1f} ms after the program ran",
            spawning.position,
        )
    path = case.directory(attempt) / "identity.json"
    if any(fault.spoils_records for fault in case.done_to(attempt)):
        return
    if not path.exists():
        yield _of(start, "intent before exec", f"pid {start.pid} ran, and {path} is missing")
    elif (
        case.boottime(path.stat().st_mtime_ns // 1000) > start.at + FILE_SLACK_NS and not case.has_clock_fault
    ):
        yield _of(start, "intent before exec", f"{path} was written after the program ran")


def _identity(case: Case, start: Start) -> Iterator[Violation]:
    attempt = case.attempt(start.key)
    if attempt is None:
        return
    told = {
        "pid": start.pid,
        "start_ticks": start.start_ticks,
        "boot_id": start.boot_id,
        "pid_namespace": start.pid_namespace,
    }
    sources = {"STARTED": attempt.process, "identity.json": case.record(attempt, "identity")}
    for source, recorded in sources.items():
        for name, value in told.items():
            if recorded and recorded.get(name) != value:
                evidence = f"{source} says {name} {recorded.get(name)}, the process itself {value}"
                started = attempt.first("STARTED")
                yield _of(start, "true identity", evidence, started.position if started else None)


def _presence(case: Case, start: Start) -> Iterator[Violation]:
    if not case.is_alive(start):
        return
    attempt = case.attempt(start.key)
    if attempt is None or attempt.first("STARTED") is None:
        evidence = f"pid {start.pid} lives, and the log does not say that it was started"
        if attempt is None or not attempt.is_over:
            yield _of(start, "no lost process", evidence)
    if attempt is not None and attempt.is_over:
        row = attempt.end or attempt.outcome
        assert row is not None
        yield _of(
            start, "alive is not ended", f"{row.type} is recorded and pid {start.pid} lives", row.position
        )


def _one_at_a_time(case: Case) -> Iterator[Violation]:
    by_agent: dict[str, list[Start]] = {}
    for start in case.starts:
        by_agent.setdefault(start.agent, []).append(start)
    for starts in by_agent.values():
        for before, after in pairwise(sorted(starts, key=lambda start: start.at)):
            if before.attempt == after.attempt:
                continue  # which "one start" is about
            last = max((line.at for line in case.lines[before.key] if line.pid == before.pid), default=0)
            if last > after.at:
                evidence = f"attempt {before.attempt} (pid {before.pid}) still wrote after this one began"
                yield _of(after, "one live attempt", evidence)
            elif case.is_alive(before):
                yield _of(
                    after, "one live attempt", f"attempt {before.attempt} (pid {before.pid}) lives, too"
                )


def _of(start: Start, promise: str, evidence: str, position: int | None = None) -> Violation:
    return Violation(promise, evidence, position, start.agent, start.attempt)
