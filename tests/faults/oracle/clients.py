"""The promise that what a client was told to be done is in the log, no later than the head it was told with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import FINAL
from tests.faults.oracle.report import Violation

SHOWS = {
    "spawn": {"SPAWNING"},
    "stop": {"STOP_REQUESTED", *FINAL},
    "kill": {"STOP_REQUESTED", *FINAL},
    "restart": {"STOP_REQUESTED", "RESTART_SCHEDULED"},
    "signal": {"SIGNAL_SENT"},
    "wait": FINAL,
}


def check_clients(case: Case) -> Iterator[Violation]:
    """Every acknowledgement; an answer that is an error, or that never came, may be either."""
    for answer in case.clients:
        if answer["answer"] == "ack":
            yield from _kept(case, answer)


def _kept(case: Case, answer: Mapping[str, Any]) -> Iterator[Violation]:
    position, agent, ask = answer.get("position"), answer.get("agent"), answer["ask"]
    head = len(case.log)
    if position is not None and position > head:
        yield _of(answer, f"{ask} was acknowledged at {position}, and the log ends at {head}")
        return
    if agent is None:
        return
    rows = [row for row in case.log[:position] if row.agent == agent]
    wanted = SHOWS.get(ask)
    if not rows:
        yield _of(answer, f"{ask} was acknowledged, and the log knows no such agent")
    elif wanted is not None and not any(row.type in wanted for row in rows):
        yield _of(answer, f"{ask} was acknowledged at {position}, and no event says so")


def _of(answer: Mapping[str, Any], evidence: str) -> Violation:
    return Violation("acknowledged is kept", evidence, answer.get("position"), answer.get("agent"))
