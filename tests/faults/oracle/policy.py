"""The promise that another attempt follows its policy or an order: when, how often, and after what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import FINAL, Agent, Attempt
from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation

SLACK_US = 1000  # times are rounded, and waits go by another clock,
DRIFT = 0.001  # of which a second may be a little shorter
FAILURES = ("FAILED", "KILLED", "LOST")


def check_policy(case: Case) -> Iterator[Violation]:
    """Every restart, and every one that is missing."""
    for agent in case.agents.values():
        used = 0
        for attempt in agent.attempts.values():
            yield from _follow_up(case, attempt, used)
            scheduled = attempt.of("RESTART_SCHEDULED")
            used = scheduled[-1].body.get("used", 0) if scheduled else used
        yield from _beginnings(case, agent)


def _beginnings(case: Case, agent: Agent) -> Iterator[Violation]:
    """Each further attempt was scheduled, and is not started before it is due."""
    is_ordered = any(one["ask"] == "restart" and one["agent"] == agent.id for one in case.clients)
    rows = [row for attempt in agent.attempts.values() for row in attempt.rows]
    for before, row in pairwise(rows):
        if row.type != "SPAWNING":
            continue
        if before.type != "RESTART_SCHEDULED":
            yield _of(row, f"attempt {row.attempt} follows {before.type}, and nobody scheduled it")
            continue
        if before.body.get("next_attempt") != row.attempt:
            yield _of(row, f"attempt {before.body.get('next_attempt')} was scheduled, {row.attempt} started")
        early = before.body.get("due_at", 0) - row.recorded_at
        if (
            early > SLACK_US + DRIFT * 1e6 * before.body.get("delay_seconds", 0.0)
            and not is_ordered
            and not case.has_clock_fault
        ):
            yield _of(row, f"it was started {early / 1e6:.3f} s before it was due")


def _follow_up(case: Case, attempt: Attempt, used: int) -> Iterator[Violation]:
    """What comes after the outcome is what the policy says, or an order."""
    outcome = attempt.outcome
    if outcome is None:
        return
    later = attempt.rows[attempt.rows.index(outcome) + 1 :]
    told = next((row for row in later if row.type in ("RESTART_SCHEDULED", "RESTART_GIVEN_UP")), None)
    if told is not None and told.type == "RESTART_SCHEDULED":
        yield from _sums(told)
        if _is_order(told):
            return
    if told is None and any(row.type in FINAL for row in later):
        return  # cancelled while it was waiting; what it waited for is judged where it was scheduled
    expected = what_follows(case, attempt, outcome, used)
    seen = None if told is None else (told.type, told.body.get("used"), told.body.get("delay_seconds"))
    if seen is None and expected is None:
        return
    if seen is None or expected is None or not _agree(seen, expected):
        yield _of(told or outcome, f"{_text(seen)} after {outcome.type}; by its policy {_text(expected)}")


def what_follows(
    case: Case, attempt: Attempt, outcome: Row, used: int
) -> tuple[str, int, float | None] | None:
    """The event that follows an outcome by policy, with the restarts used by then and the delay; None for none."""
    spawning, end = attempt.first("SPAWNING"), attempt.end
    rule: dict[str, Any] = {} if spawning is None else spawning.body.get("spec", {}).get("restart", {})
    orders = attempt.of("STOP_REQUESTED")
    order = orders[-1].body.get("cause") if orders else None  # the last one counts, whatever ended it
    if end is None:
        return None  # what keeps a program from being executed stays so
    if order == "restart":
        return "RESTART_SCHEDULED", used, 0.0
    if order in ("user", "shutdown"):
        return None
    mode = rule.get("mode", "never")
    if outcome.type not in FAILURES and not (mode == "always" and outcome.type == "COMPLETED"):
        return None
    if mode == "never":
        return None
    if _ran_seconds(case, attempt, end) >= rule["reset_after_seconds"]:
        used = 0
    if rule["max_restarts"] is not None and used >= rule["max_restarts"]:
        return None if outcome.type == "COMPLETED" else ("RESTART_GIVEN_UP", used, None)
    delay = min(rule["backoff_seconds"] * 2.0 ** min(used, 60), rule["backoff_limit_seconds"])
    return "RESTART_SCHEDULED", used + 1, delay


def _ran_seconds(case: Case, attempt: Attempt, end: Row) -> float:
    """By the shim's two readings of the clock since boot; else by the wall clock."""
    seen, started = case.record(attempt, "exit"), attempt.first("STARTED")
    if end.body.get("source") == "shim record" and seen:
        return float(seen["ended_boottime_ns"] - seen["started_boottime_ns"]) / 1e9
    ended_at = end.occurred_at if end.body.get("ended_at") is None else end.body["ended_at"]
    return 0.0 if started is None else float(ended_at - started.occurred_at) / 1e6


def _sums(row: Row) -> Iterator[Violation]:
    body = row.body
    due_at, delay = body.get("due_at", 0), body.get("delay_seconds", 0.0)
    if abs(due_at - row.occurred_at - delay * 1e6) > SLACK_US:
        yield _of(row, f"due {(due_at - row.occurred_at) / 1e6:.3f} s later, with a delay of {delay} s")


def _is_order(row: Row) -> bool:
    """Somebody wants it again: at once, and the budget begins anew."""
    return bool(row.body.get("delay_seconds") == 0 and row.body.get("used") == 0)


def _agree(seen: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    if seen[:2] != expected[:2]:
        return False
    return seen[2] == expected[2] or (
        seen[2] is not None and math.isclose(seen[2], expected[2], abs_tol=1e-6)
    )


def _text(event: tuple[Any, ...] | None) -> str:
    if event is None:
        return "nothing"
    return event[0] if event[2] is None else f"{event[0]} (restart {event[1]}, after {event[2]} s)"


def _of(row: Row, evidence: str) -> Violation:
    return Violation("restart policy", evidence, row.position, row.agent, row.attempt)
