"""The promise that what the log says was asked for was asked for: by whom, about whom, and as often at most.

An order may have led to nothing, where whoever gave it was not told otherwise (`clients` looks after that). It may not
have been carried out twice, nor about another agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import Agent
from tests.faults.oracle.ledger import Ask
from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation

SLACK_NS = 5_000_000  # the two clocks are not read at once
STARTS = ("spawn", "ensure")
STOPS = ("stop", "kill")
OF_ITSELF = "coordinator"  # the actor of what follows without an order


def check_asks(case: Case) -> Iterator[Violation]:
    """Every start of an agent, stop, signal and restart in the log against the harness's list of what it asked for."""
    yield from _starts(case)
    for agent in case.agents.values():
        rows = [row for attempt in agent.attempts.values() for row in attempt.rows]
        yield from _orders(case, agent, rows)
        yield from _causes(agent, rows)
        yield from _origins(agent, rows)
    yield from _joined(case)


def _starts(case: Case) -> Iterator[Violation]:
    """Each agent is one that somebody was told of, or takes up one name of an order that nobody knows the end of."""
    asks = {ask.id: ask for ask in case.asks if ask.kind in STARTS}
    told: dict[str, set[int]] = {}
    for answer in case.clients:
        if answer.get("order") in asks and answer["answer"] == "ack":
            told.setdefault(answer.get("agent") or "", set()).add(answer["order"])
    ended = {order for orders in told.values() for order in orders}
    left = [(ask, name) for ask in asks.values() for name in ask.names]
    left.sort(key=lambda one: one[1] is None)  # a name that was asked for before any name
    for agent in case.agents.values():
        row = next((row for attempt in agent.attempts.values() for row in attempt.of("SPAWNING")), None)
        if row is None:
            continue
        own = told.get(agent.id, set())
        can_be = [
            one for one in left if (one[0].id in own or one[0].id not in ended) and _can_be(case, *one, row)
        ]
        can_be.sort(key=lambda one: one[0].id not in own)
        if can_be:
            left.remove(can_be[0])
        else:
            yield _of(row, f"{row.body.get('name')} was started by {row.actor}, and nobody asked for that")


def _can_be(case: Case, ask: Ask, name: str | None, row: Row) -> bool:
    return name in (None, row.body.get("name")) and _gave(case, ask, row)


def _gave(case: Case, ask: Ask, row: Row) -> bool:
    """Whether it is this order's actor, and not before the order."""
    is_later = case.has_clock_fault or case.boottime(row.recorded_at) + SLACK_NS >= ask.at
    return ask.by == row.actor and is_later


def _orders(case: Case, agent: Agent, rows: list[Row]) -> Iterator[Violation]:
    """Each stop, signal and restart has an order of its own."""
    about = [ask for ask in case.asks if ask.is_about(agent.id, agent.name)]
    left = {kind: [ask for ask in about if ask.kind == kind] for kind in (*STOPS, "restart", "signal")}
    for number, row in enumerate(rows):
        kinds = kinds_for(rows[:number], row)
        if not kinds:
            continue
        wanted = _with_signal(row) if kinds == ("signal",) else _any
        found = next(
            (ask for kind in kinds for ask in left[kind] if wanted(ask) and _gave(case, ask, row)), None
        )
        if found is None:
            yield _of(row, f"{row.type} by {row.actor}, and nobody asked for it, or not so often")
        else:
            left[found.kind].remove(found)


def kinds_for(before: Sequence[Row], row: Row) -> tuple[str, ...]:
    """The orders that can have led to an event, after these of its agent; none for one that follows of itself."""
    if row.type == "STOP_REQUESTED" and row.body.get("cause") == "user":
        # What is asked for while a kill is under way goes on as that, and a kill as the stop that has come to SIGKILL.
        earlier = [one for one in before if one.attempt == row.attempt]
        if not row.body.get("forced"):
            return STOPS if any(one.type == "SIGKILL_SENT" for one in earlier) else ("stop",)
        requests = [one for one in earlier if one.type == "STOP_REQUESTED"]
        return STOPS if any(one.body.get("forced") for one in requests) else ("kill",)
    if row.type == "STOP_REQUESTED" and row.body.get("cause") == "restart":
        return ("restart",)
    if row.type == "CANCELLED" and before and before[-1].type == "RESTART_SCHEDULED":
        return STOPS
    if row.type == "RESTART_SCHEDULED" and row.actor != OF_ITSELF:
        return ("restart",)
    return ("signal",) if row.type == "SIGNAL_SENT" else ()


def _any(_: Ask) -> bool:
    return True


def _with_signal(row: Row) -> Callable[[Ask], bool]:
    return lambda ask: ask.signal == row.body.get("signal")


def _causes(agent: Agent, rows: list[Row]) -> Iterator[Violation]:
    """A rule ends only what has one of its kind; nothing ends agents with their coordinator unasked."""
    for row in rows:
        cause = row.body.get("cause")
        if row.type != "STOP_REQUESTED" or cause in ("user", "restart"):
            continue
        spawning = agent.attempts[row.attempt or 0].first("SPAWNING")
        rules = {} if spawning is None else spawning.body.get("spec", {})
        if not rules.get({"limit": "limits", "health": "health"}.get(str(cause), "")):
            yield _of(row, f"stopped by {row.actor} because of its {cause}, and it has none that could")


def _origins(agent: Agent, rows: list[Row]) -> Iterator[Violation]:
    """What follows of itself goes on with the agent's last order."""
    for before, row in pairwise(rows):
        if row.actor == OF_ITSELF and row.correlation_id != before.correlation_id:
            yield _of(
                row, f"{row.type} follows of itself, and is joined to another order than what came before"
            )


def _joined(case: Case) -> Iterator[Violation]:
    """One correlation id joins one order: one kind, one actor, and each agent once."""
    seen: dict[str, tuple[str, str]] = {}
    agents: set[tuple[str, str, str]] = set()
    for row in case.rows:
        if (
            row.agent is None
            or row.actor == OF_ITSELF
            or row.type not in ("SPAWNING", "STOP_REQUESTED", "SIGNAL_SENT")
        ):
            continue
        kind = (row.type, row.actor)
        if seen.setdefault(row.correlation_id, kind) != kind:
            yield _of(row, f"{row.type} by {row.actor} is joined to {' by '.join(seen[row.correlation_id])}")
        elif (row.correlation_id, row.agent, row.type) in agents:
            yield _of(row, f"{row.type} is joined to another one of the same agent")
        agents.add((row.correlation_id, row.agent, row.type))


def _of(row: Row, evidence: str) -> Violation:
    return Violation("as asked for", evidence, row.position, row.agent, row.attempt)
