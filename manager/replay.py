"""Replaying agents from their streams, for a coordinator that is to act on what the log says.

Each row is verified by itself, wherever in the log it stands, and what the listing says is held against the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from eventstore import chain
from eventstore.errors import IllegalTransition, StoreDamaged
from eventstore.record import RecordedEvent
from eventstore.state import AgentState
from eventstore.store import EventStore
from projections.agents import STREAM_PREFIX, advance
from projections.checking import agents_differences

_AT_ONCE = 10_000


class Replayed(NamedTuple):
    """An agent's state, and the last event of its stream."""

    state: AgentState
    last: RecordedEvent


class _Halfway(NamedTuple):
    state: AgentState | None  # None while there were only events of a newer release
    last: RecordedEvent


def replay(store: EventStore, ids: Sequence[str]) -> dict[str, Replayed]:
    """The agents by id. Raises `StoreDamaged` where an event, or the row of one of them, is not what was written."""
    found: dict[str, Replayed] = {}
    for some in (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)):
        halfway: dict[str, _Halfway] = {}
        for event in store.read(streams=[STREAM_PREFIX + agent_id for agent_id in some]):
            agent_id = event.stream.removeprefix(STREAM_PREFIX)
            halfway[agent_id] = _next(halfway.get(agent_id), event)
        there = {i: Replayed(one.state, one.last) for i, one in halfway.items() if one.state is not None}
        if lost := set(some) - there.keys():
            raise StoreDamaged(
                f"cannot replay agent {min(lost)}: the log has no events of it; run `outlive verify`"
            )
        with closing(store.reader()) as reader:
            wrong = next(agents_differences(reader, there), None)
        if wrong is not None:
            raise StoreDamaged(f"cannot use the rows of agents: {wrong}; run `outlive rebuild`")
        found |= there
    return found


def _next(before: _Halfway | None, event: RecordedEvent) -> _Halfway:
    version = 1 if before is None else before.last.version + 1
    if event.version != version or not chain.is_own_hash(event):
        raise StoreDamaged(
            f"cannot replay {event.stream}: the event at position {event.position} is not what was written; "
            "run `outlive verify`",
            position=event.position,
        )
    try:
        state = advance(None if before is None else before.state, event)
    except IllegalTransition as error:
        raise StoreDamaged(f"cannot replay {event.stream}: {error}", position=event.position) from error
    return _Halfway(state, event)
