"""The promise that "unknown" is said only where whoever saw the end was taken away, and with the reason."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from functools import cache

from tests.faults.oracle.case import Case
from tests.faults.oracle.exits import SLACK_NS
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.log import Row
from tests.faults.oracle.records import exit_of
from tests.faults.oracle.report import Violation
from tests.faults.oracle.truth import last_sign_of_life

TELLS_EXITS = (6, 15)  # Linux tells the exit of an orphan to whoever holds its pidfd
REAPING_NS = 4_000_000_000  # init takes its time; a manager need not wait for ever


def check_unknowns(case: Case) -> Iterator[Violation]:
    """Every exit that is recorded as unknown, and every start of which nobody knows whether it happened."""
    for attempt in case.attempts:
        end, outcome = attempt.end, attempt.outcome
        if end is not None and exit_of(end.body.get("exit", {})) is None:
            exit_ = end.body.get("exit", {})
            yield from _justified(case, attempt, end, str(exit_.get("reason") or ""))
            yield from _bounds(case, attempt, end)
        elif end is None and outcome is not None and outcome.type == "LOST":
            yield from _justified(case, attempt, outcome, str(outcome.body.get("reason") or ""))


def _justified(case: Case, attempt: Attempt, row: Row, reason: str) -> Iterator[Violation]:
    if not reason.strip():
        yield _of(row, "unknown, and no reason is given")
    done = case.done_to(attempt, before=case.boottime(row.recorded_at))
    was_spoilt = any(fault.spoils_records for fault in done)
    if exit_of(case.record(attempt, "exit")) is not None and not was_spoilt:
        yield _of(row, f"unknown ({reason}), and its exit is in exit.json")
    elif was_spoilt:
        return
    elif not any(fault.takes_shim_away for fault in done):
        yield _of(row, f"unknown ({reason}), and nothing was done to its shim")
    elif "reboot" in reason and not any(fault.is_reboot for fault in done):
        yield _of(row, f"unknown ({reason}), and the host was not booted again")
    elif _was_held(case, attempt, row):
        yield _of(row, f"unknown ({reason}), and its coordinator held the process all the time")


def _was_held(case: Case, attempt: Attempt, row: Row) -> bool:
    """Whether the coordinator that recorded this had the process in hand before its shim was lost, and kept it."""
    if row.type != "ZOMBIE_REAPED" or case.has_clock_fault or kernel() < TELLS_EXITS:
        return False
    held = [one for one in attempt.of("STARTED", "REATTACHED") if one.epoch == row.epoch]
    if not held or any(fault.takes_coordinator_away and fault.pid is None for fault in case.faults):
        return False
    since, until = case.boottime(held[0].recorded_at), case.boottime(row.recorded_at)
    lost = min((fault.at for fault in case.done_to(attempt) if fault.takes_shim_away), default=0)
    spoke = max(last_sign_of_life(case, attempt), lost)
    return lost > since and until - spoke < REAPING_NS


def _bounds(case: Case, attempt: Attempt, end: Row) -> Iterator[Violation]:
    exit_ = end.body.get("exit", {})
    low, high = exit_.get("not_before_at"), exit_.get("not_after_at")
    if low is not None and high is not None and low > high:
        yield _of(end, f"it is said to have ended after {low} and before {high}")
    if high is not None and last_sign_of_life(case, attempt) > case.boottime(high) + SLACK_NS:
        yield _of(end, "it is said to have ended before its last word")


@cache
def kernel() -> tuple[int, ...]:
    """The running kernel's version, as far as it decides what can be known."""
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def _of(row: Row, evidence: str) -> Violation:
    return Violation("justified unknown", evidence, row.position, row.agent, row.attempt)
