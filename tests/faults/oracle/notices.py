"""The promise that agents notice nothing: nobody holds them up, whoever of ours dies or is restarted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.faults.oracle.case import NEVER, Case
from tests.faults.oracle.faults import EVERYTHING, Fault
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.ledger import Line, Start
from tests.faults.oracle.report import Violation

SECOND_NS = 1_000_000_000
SILENCE_NS = 3 * SECOND_NS  # at the end of a run, when how long it waits for a processor is not told yet
OUT_OF_TIME = ("stop", "freeze", "clock", "suspend", "reboot")


def check_notices(case: Case) -> Iterator[Violation]:
    """Every agent that beats, beats on: a gap is its own waiting for a processor, or a fault on itself."""
    for start in case.starts:
        beats = [line for line in case.told(start.key, "BEAT") if line.pid == start.pid]
        attempt = case.attempt(start.key)
        if not beats or attempt is None:
            continue
        held = list(_held(case, attempt))
        for before, after in pairwise(beats):
            gap = after.at - before.at - (_waited(after) - _waited(before))
            if gap > SECOND_NS and not _overlaps(held, before.at, after.at):
                yield _of(after, f"no beat for {gap / 1e9:.2f} s, and nothing was done to it")
        yield from _silence(case, start, beats[-1], held)


def _silence(case: Case, start: Start, last: Line, held: list[tuple[int, int]]) -> Iterator[Violation]:
    silent = case.read_at - last.at
    if case.is_alive(start) and silent > SILENCE_NS and not _overlaps(held, last.at, case.read_at):
        yield _of(last, f"it lives, and has not beaten for {silent / 1e9:.2f} s")


def _held(case: Case, attempt: Attempt) -> Iterator[tuple[int, int]]:
    """From when to when a fault kept the agent, or the whole machine, from running."""
    done = case.done_to(attempt, "agent", "attempt", *EVERYTHING)
    signals = attempt.of("SIGNAL_SENT")
    yield from (
        (case.boottime(row.recorded_at), NEVER) for row in signals if row.body.get("signal") in (19, 20)
    )
    for fault in done:
        if fault.kind in OUT_OF_TIME or fault.signal is None:
            yield fault.at, _until(fault, done)


def _until(fault: Fault, done: list[Fault]) -> int:
    if fault.kind not in ("stop", "freeze"):
        return NEVER
    return min((other.at for other in done if other.kind == "cont" and other.at > fault.at), default=NEVER)


def _overlaps(held: list[tuple[int, int]], since: int, until: int) -> bool:
    return any(begin <= until and end >= since for begin, end in held)


def _waited(beat: Line) -> int:
    return int(beat.words[0]) if beat.words else 0


def _of(line: Line, evidence: str) -> Violation:
    return Violation("agents notice nothing", evidence, None, line.agent, line.attempt)
