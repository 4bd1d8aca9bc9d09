"""Rows that are folds of the log, held against the log: all of them, or as many as an opening has time for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from sqlalchemy import Table

from eventstore import payloads
from eventstore.errors import IllegalTransition, StoreDamaged
from eventstore.reader import Reader
from eventstore.record import RecordedEvent
from eventstore.state import AgentState
from eventstore.store import EventStore
from projections import lines, tables
from projections.agents import (
    STREAM_PREFIX,
    agent_id_of,
    agent_row,
)
from projections.aside import Rows, folded_aside, in_order, merged
from projections.folding import folded_rows
from projections.kinds import FOLLOWING, KINDS, Kind
from projections.rows import Row

_IDS_A_QUERY = 500
_SHOWN_CHARACTERS = 60


class Difference(NamedTuple):
    """Where a live row is not what the log says: the agent's row, or the row of its `attempt`.

    A whole row that is missing or too many has column `*`. The key of `epochs.epoch` is a home, that of
    `projections.…` a projection's name, that of `payloads.error_line` the beginning of a text's digest.
    """

    key: str
    attempt: int | None
    column: str
    live: Any
    folded: Any

    def __str__(self) -> str:
        where = self.key if self.attempt is None else f"{self.key} attempt {self.attempt}"
        live, folded = _excerpts(str(self.live), str(self.folded))
        return f"{self.column} of {where} is {live!r}, the log says {folded!r}"


def check(store: EventStore) -> list[Difference]:
    """`differences` in the log that a store has open."""
    with closing(store.reader()) as reader:
        return list(differences(reader))


def differences(reader: Reader) -> Iterator[Difference]:
    """Every difference, at one moment of the database, one agent at a time."""
    with reader.snapshot():
        yield from _epochs(reader)
        yield from _checkpoints(reader)
        yield from _agents(reader)
        for digest, kept, line in lines.differing(reader.rows):
            yield Difference(digest[:16], None, "payloads.error_line", kept, line)
        for kind in FOLLOWING:
            yield from _following(reader, kind)


def agents_differences(
    reader: Reader, folded: Mapping[str, tuple[AgentState, RecordedEvent]]
) -> Iterator[Difference]:
    """Where the rows of these agents are not what their states and last events say."""
    for agent_id, live in _live(reader, list(folded)).items():
        state, last = folded[agent_id]
        yield from _compare(agent_id, None, live, agent_row(agent_id, state, last))


def _epochs(reader: Reader) -> Iterator[Difference]:
    live = dict(reader.rows("SELECT home, epoch FROM epochs"))
    logged = dict(reader.rows("SELECT home, max(epoch) FROM events WHERE epoch > 0 GROUP BY home"))
    for home in sorted(live.keys() | logged.keys()):
        if live.get(home) != logged.get(home):
            yield Difference(home, None, "epochs.epoch", live.get(home), logged.get(home))


def _checkpoints(reader: Reader) -> Iterator[Difference]:
    live = {name: rest for name, *rest in reader.rows("SELECT name, version, position FROM projections")}
    head = reader.head().position
    for name in sorted(live.keys() | KINDS.keys()):
        kind, found = KINDS.get(name), live.get(name)
        if kind is None:
            yield Difference(name, None, "projections.*", "present", None)
        elif found is None:
            if head and kind.is_inline:
                yield Difference(name, None, "projections.*", None, "present")
        else:
            # Those that follow may be behind the log, never ahead of it.
            position = head if kind.is_inline else min(found[1], head)
            for column, value, should in zip(
                ("version", "position"), found, (kind.version, position), strict=True
            ):
                if value != should:
                    yield Difference(name, None, f"projections.{column}", value, should)


def _following(reader: Reader, kind: Kind) -> Iterator[Difference]:
    """What the log up to its checkpoint gives, folded into tables of its own, against its rows."""
    found = reader.rows("SELECT position FROM projections WHERE name = ?", (kind.name,))
    try:
        until = found[0][0] if found else 0
        with folded_aside(reader, kind, until=until) as folded:
            going = payloads.erased_after(reader, until)
            for table in kind.tables:
                yield from _table_differences(reader, folded, table, going)
    except (IllegalTransition, StoreDamaged) as error:
        yield Difference(kind.name, None, "*", "present", f"cannot be told: {error}")


def _table_differences(
    reader: Reader, folded: Rows, table: Table, going: Collection[str]
) -> Iterator[Difference]:
    """`going`: digests of texts that are erased, though the rows have not taken that in yet."""
    keys = [column.name for column in table.primary_key.columns]
    for key, live, right in merged(in_order(reader.rows, table), in_order(folded, table), keys):
        agent_or_number, attempt = key if keys[-1] == "attempt" else (key[-1], None)
        if live and right and live.get("output_digest") in going:
            right |= {name: live[name] for name in ("fingerprint", "error_line")}
        for difference in _compare(str(agent_or_number), attempt, live, right):
            yield difference._replace(column=f"{table.name}.{difference.column}")


def _agents(reader: Reader) -> Iterator[Difference]:
    ids = {row[0] for row in reader.rows("SELECT agent_id FROM agents UNION SELECT agent_id FROM attempts")}
    streams = reader.rows(
        "SELECT DISTINCT stream FROM events WHERE stream >= ? AND stream < ?",
        (STREAM_PREFIX, STREAM_PREFIX[:-1] + chr(ord(STREAM_PREFIX[-1]) + 1)),
    )
    ids |= {agent_id_of(stream) for (stream,) in streams}
    for agent_id in sorted(ids):
        live = _rows(reader, tables.agents, [agent_id])
        try:
            rows = dict(folded_rows(agent_id, reader.events(stream=STREAM_PREFIX + agent_id)))
        except (IllegalTransition, StoreDamaged) as error:
            yield Difference(agent_id, None, "*", live and "present", f"cannot be told: {error}")
            continue
        yield from _compare(agent_id, None, live[0] if live else None, rows.pop(None, None))
        live_attempts = {row["attempt"]: row for row in _rows(reader, tables.attempts, [agent_id])}
        for attempt in sorted(live_attempts.keys() | {number for number in rows if number is not None}):
            yield from _compare(agent_id, attempt, live_attempts.get(attempt), rows.get(attempt))


def _live(reader: Reader, ids: list[str]) -> dict[str, Row | None]:
    found: dict[str, Row | None] = dict.fromkeys(ids)
    for start in range(0, len(ids), _IDS_A_QUERY):
        part = ids[start : start + _IDS_A_QUERY]
        found.update({row["agent_id"]: row for row in _rows(reader, tables.agents, part)})
    return found


def _rows(reader: Reader, table: Table, ids: list[str]) -> list[Row]:
    names = [column.name for column in table.columns]
    marks = ", ".join("?" * len(ids))
    query = f"SELECT {', '.join(names)} FROM {table.name} WHERE agent_id IN ({marks})"  # noqa: S608 (our own names)
    return [dict(zip(names, row, strict=True)) for row in reader.rows(query, ids)]


def _excerpts(one: str, other: str) -> tuple[str, str]:
    """Both around the first character in which they differ, where they are long."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, at - _SHOWN_CHARACTERS // 2)
    return one[start : start + _SHOWN_CHARACTERS], other[start : start + _SHOWN_CHARACTERS]


def _compare(key: str, attempt: int | None, live: Row | None, folded: Row | None) -> Iterator[Difference]:
    if live is None or folded is None:
        if live is not folded:
            yield Difference(key, attempt, "*", live and "present", folded and "present")
        return
    for column, value in folded.items():
        if live[column] != value and not (column == "state_json" and _says_the_same(live[column], value)):
            yield Difference(key, attempt, column, live[column], value)


def _says_the_same(*texts: str) -> bool:
    """Whether they are one JSON value: release 0.1 kept labels in the order in which they were given."""
    try:
        return len({json.dumps(json.loads(text), sort_keys=True) for text in texts}) == 1
    except (ValueError, TypeError, RecursionError):
        return False
