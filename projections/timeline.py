"""The timeline: each event as a row that people and reports can read without knowing its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table

from eventstore.lifecycle import TRANSITIONS
from eventstore.record import RecordedEvent
from eventstore.state import State
from eventstore.statements import Statements
from projections import tables
from projections.agents import STREAM_PREFIX, agent_id_of
from projections.checkpoints import FOLLOWING_VERSIONS
from projections.rows import Row, upsert, values_of
from projections.sentences import sentence

_IDS_A_QUERY = 500


class Standing(NamedTuple):
    """What the row before says of an agent: its name and the state that it left it in."""

    name: str | None
    state: str | None


_NOBODY = Standing(None, None)


class TimelineProjection:
    """Keeps the table `timeline`, or another of its shape."""

    name = "timeline"
    version = FOLLOWING_VERSIONS["timeline"]

    def __init__(self, timeline: Table = tables.timeline) -> None:
        self._table = timeline
        self._upsert = upsert(timeline)
        self._values = values_of(timeline)

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Take in events that follow those taken in before."""
        statements = Statements(connection)
        standing = self._standing(
            statements, sorted({agent_id_of(e.stream) for e in events if _is_agents(e)})
        )
        rows = []
        for event in events:
            row = timeline_row(event, standing.get(agent_id_of(event.stream), _NOBODY))
            rows.append(row)
            if row["agent_id"] is not None:
                standing[row["agent_id"]] = Standing(row["name"], row["state_after"])
        statements.run_many(self._upsert, list(map(self._values, rows)))

    def _standing(self, statements: Statements, ids: list[str]) -> dict[str, Standing]:
        found: dict[str, Standing] = {}
        table = self._table.name
        for start in range(0, len(ids), _IDS_A_QUERY):
            part = ids[start : start + _IDS_A_QUERY]
            query = (
                f"SELECT agent_id, name, state_after FROM {table} WHERE position IN"  # noqa: S608 (our own names)
                f" (SELECT max(position) FROM {table} WHERE agent_id IN ({', '.join('?' * len(part))})"
                " GROUP BY agent_id)"
            )
            found |= {agent_id: Standing(*rest) for agent_id, *rest in statements.rows(query, part)}
        return found


def timeline_row(event: RecordedEvent, before: Standing) -> Row:
    """The row of one event. `before`: where the agent stood when it came."""
    data = json.loads(event.data)
    is_agents = _is_agents(event)
    return {
        "position": event.position,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "recorded_at": event.recorded_at,
        "stream": event.stream,
        "agent_id": agent_id_of(event.stream) if is_agents else None,
        "name": (_text(data, "name") or before.name) if is_agents else None,
        "attempt": event.attempt,
        "type": event.type,
        "state_before": before.state,
        "state_after": _after(before.state, event.type) if is_agents else None,
        "actor": event.actor,
        "reason": _text(data, "reason") or _text(data, "message"),
        "summary": sentence(event.type, data),
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
    }


def _is_agents(event: RecordedEvent) -> bool:
    return event.stream.startswith(STREAM_PREFIX)


def _after(state: str | None, event_type: str) -> str | None:
    """An event that this release does not know leaves the state as it is."""
    return TRANSITIONS[None if state is None else State(state)].get(event_type, state)


def _text(data: Mapping[str, Any], field: str) -> str | None:
    found = data.get(field)
    return found if isinstance(found, str) and found else None
