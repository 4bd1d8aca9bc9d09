"""How a main process can have ended, by the word of others than the manager: its own, the harness's."""

from __future__ import annotations

from tests.faults.oracle.case import Case
from tests.faults.oracle.faults import EVERYTHING, HARMLESS
from tests.faults.oracle.fold import Attempt

End = tuple[str, int]
UNBLOCKED = frozenset({4, 5, 6, 7, 8, 9, 11, 31})  # signals that end an agent that has written its first line
TARGETS = ("agent", "attempt", *EVERYTHING)


def last_words(case: Case, attempt: Attempt) -> set[End]:
    """The ends that the main process itself announced: a code, or a signal that it sent itself."""
    start = case.start(attempt)
    if start is None:
        return set()
    told = [line for line in case.told(start.key, "END") if line.pid == start.pid]
    codes = [int(line.words[0]) for line in told]
    return {("code", code) if code >= 0 else ("signal", -code) for code in codes}


def inflicted(case: Case, attempt: Attempt) -> set[End]:
    """The ends that others can have brought about before the end was recorded: faults, and signals that were sent."""
    before = case.boottime(attempt.end.recorded_at) if attempt.end else case.read_at
    has_spoken = case.start(attempt) is not None
    found: set[End] = set()
    for fault in case.done_to(attempt, *TARGETS, before=before):
        if fault.signal is None:
            found.add(("code", 1))  # an agent that cannot write ends by an exception
        else:
            found.add(("signal", fault.signal))
    found |= {("signal", signal) for signal in sent(attempt)}
    return {end for end in found if end[0] == "code" or _can_end(end[1], has_spoken=has_spoken)}


def sent(attempt: Attempt) -> set[int]:
    """The signals that the log says were sent to the main process."""
    found = {int(row.body.get("signal", 0)) for row in attempt.of("SIGNAL_SENT")}
    found |= {15 for _ in attempt.of("SIGTERM_SENT")}
    return found | {9 for _ in attempt.of("SIGKILL_SENT")}


def last_sign_of_life(case: Case, attempt: Attempt) -> int:
    """When the main process wrote its last line; 0 for never."""
    start = case.start(attempt)
    if start is None:
        return 0
    return max(line.at for line in case.lines[start.key] if line.pid == start.pid)


def _can_end(signal: int, *, has_spoken: bool) -> bool:
    return signal in UNBLOCKED if has_spoken else signal > 0 and signal not in HARMLESS
