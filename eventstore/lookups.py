"""What an append has to know of the log, asked in few statements: each is a round trip to a far database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eventstore.record import COLUMNS, RecordedEvent
from eventstore.statements import Query, Statements

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events WHERE event_id IN"  # noqa: S608 (names of columns, no values)
_VERSIONS = "SELECT stream, max(version) FROM events WHERE stream IN"
_TAIL = "SELECT position, hash, recorded_at FROM events ORDER BY position DESC LIMIT 1"
_A_QUERY = 500


def look(home: str, ids: Sequence[str], streams: Sequence[str]) -> Query:
    """The last row, the home's epoch, whether any id may be known, and the version where there is one stream.

    One statement, for each is a round trip where the database is far away.
    """
    known, version = "1 = 1", "NULL"
    parameters: list[object] = []
    if len(ids) <= _A_QUERY:
        known = f"EXISTS (SELECT 1 FROM events WHERE event_id IN ({', '.join('?' * len(ids)) or 'NULL'}))"  # noqa: S608
        parameters += ids
    if len(streams) == 1:
        version = "(SELECT max(version) FROM events WHERE stream = ?)"
        parameters += streams
    return Query(
        f"SELECT t.position, t.hash, t.recorded_at, e.epoch, {known}, {version} FROM (SELECT 1 AS one) o"  # noqa: S608
        f" LEFT JOIN ({_TAIL}) t ON 1 = 1 LEFT JOIN epochs e ON e.home = ?",
        (*parameters, home),
    )


def rows_of(statements: Statements, ids: Sequence[str]) -> dict[str, RecordedEvent]:
    """The events of these ids that the log has, by id."""
    found = (RecordedEvent._make(row) for query in _parts(_SELECT, ids) for row in statements.rows(*query))
    return {event.event_id: event for event in found}


def versions_of(statements: Statements, streams: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The versions of these streams; those that there are."""
    for query in _parts(_VERSIONS, streams, " GROUP BY stream"):
        yield from statements.rows(*query)


def _parts(sql: str, values: Sequence[str], end: str = "") -> list[Query]:
    """A query for each so many of the values."""
    parts = (values[start : start + _A_QUERY] for start in range(0, len(values), _A_QUERY))
    return [Query(f"{sql} ({', '.join('?' * len(part))}){end}", part) for part in parts]
