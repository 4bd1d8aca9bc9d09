"""Promises about signals, by what the agents and the canaries were sent."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.oracle.case import Case
from tests.faults.oracle.ledger import Line, Start
from tests.faults.oracle.report import Violation

SLACK_NS = 5_000_000  # the two clocks are not read at once
TERM, CONT, KILL = 15, 18, 9
ANNOUNCED = {TERM: "SIGTERM_SENT", CONT: "SIGTERM_SENT"}  # a stopped process cannot end itself


def check_signals(case: Case) -> Iterator[Violation]:
    """Every signal that somebody was told of has its event first, or is the harness's own."""
    coordinators = {row.body.get("pid") for row in case.rows if row.type == "COORDINATOR_STARTED"}
    for lines in case.lines.values():
        for line in lines:
            if line.kind == "SIG":
                yield from _received(case, line, coordinators)
    yield from _kills(case)
    yield from _canaries(case)


def _received(case: Case, line: Line, coordinators: set[object]) -> Iterator[Violation]:
    signal, sender = int(line.words[0]), int(line.words[1])
    attempt = case.attempt(line.key)
    done = [] if attempt is None else case.done_to(attempt, before=line.at)
    if any(fault.signal == signal and fault.pid in (None, line.pid) for fault in done):
        return
    is_spoiled = any(fault.spoils_log for fault in case.faults)
    if sender not in coordinators and not is_spoiled:  # the log may not have taken in that a command began
        evidence = f"pid {line.pid} got signal {signal} from {sender}, which is nobody that was asked to"
        yield _of(line, "agents notice nothing", evidence)
        return
    rows = [] if attempt is None else attempt.of("SIGNAL_SENT", "SIGTERM_SENT")
    announcing = [
        row
        for row in rows
        if row.type == ANNOUNCED.get(signal)
        or (row.type == "SIGNAL_SENT" and row.body.get("signal") == signal)
    ]
    if not announcing:
        if not is_spoiled:
            yield _of(line, "signal after event", f"signal {signal} from {sender} has no event")
        return
    first = announcing[0]
    late = case.boottime(first.recorded_at) - line.at
    if late > SLACK_NS and not case.has_clock_fault and not is_spoiled:
        evidence = f"signal {signal} came {late / 1e6:.1f} ms before {first.type} was recorded"
        yield _of(line, "signal after event", evidence, first.position)


def _kills(case: Case) -> Iterator[Violation]:
    """A process that SIGKILL ended did so after the event, unless somebody else killed it."""
    for attempt in case.attempts:
        end, announced = attempt.end, attempt.first("SIGKILL_SENT")
        if end is None or announced is None or end.body.get("exit", {}).get("signal") != KILL:
            continue
        ended_at = end.body.get("ended_at")
        is_excused = any(fault.signal == KILL or fault.signal is None for fault in case.done_to(attempt))
        if ended_at is None or is_excused or case.has_clock_fault:
            continue
        if any(fault.spoils_log for fault in case.faults):
            continue  # agents can be stopped all the same, and it is recorded afterwards
        if attempt.of("SIGNAL_SENT"):
            continue
        if ended_at < announced.recorded_at:
            evidence = (
                f"SIGKILL ended it {(announced.recorded_at - ended_at) / 1e3:.1f} ms before it was announced"
            )
            yield Violation("signal after event", evidence, announced.position, attempt.agent, attempt.number)


def _canaries(case: Case) -> Iterator[Violation]:
    starts = [line for line in case.canaries if isinstance(line, Start)]
    faults = {fault.pid for fault in case.faults if fault.signal is not None}
    for line in case.canaries:
        if line.kind == "SIG" and line.pid not in faults:
            evidence = f"the canary with pid {line.pid} got signal {line.words[0]} from {line.words[1]}"
            yield Violation("canary unharmed", evidence)
    ended = {line.pid for line in case.canaries if line.kind == "END"}
    for start in starts:
        is_visible = start.pid_namespace in {one.pid_namespace for one in case.processes.values()}
        if is_visible and start.pid not in ended and start.pid not in faults and not case.is_alive(start):
            yield Violation("canary unharmed", f"the canary with pid {start.pid} is gone without a word")


def _of(line: Line, promise: str, evidence: str, position: int | None = None) -> Violation:
    return Violation(promise, evidence, position, line.agent, line.attempt)
