"""What an append has to know of the log, asked all at once: each time is a round trip to a far database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eventstore.chain import EMPTY
from eventstore.record import COLUMNS, Head, RecordedEvent
from eventstore.statements import AMONG, EACH, Query, Rows, texts

_TAIL = "SELECT position, hash, recorded_at FROM events ORDER BY position DESC LIMIT 1"
_LAST = (
    "SELECT t.position, t.hash, t.recorded_at, e.epoch, (SELECT hash FROM events WHERE position = ?)"  # noqa: S608
    f" FROM (SELECT 1 AS one) o LEFT JOIN ({_TAIL}) t ON 1 = 1"
    " LEFT JOIN epochs e ON e.home = ?"
)
_KNOWN = f"SELECT {', '.join(COLUMNS)} FROM events WHERE event_id {AMONG}"  # noqa: S608 (names of columns)
_VERSIONS = f"SELECT key, (SELECT max(version) FROM events WHERE stream = wanted.key) FROM {EACH} wanted"  # noqa: S608
_PROJECTIONS = "SELECT name, version, position FROM projections"


class Found(NamedTuple):
    """The answers to `look`, and to `others` after it. `projections`: name → version, position.

    `hash_before`: that of the row at the position that was asked about; None where there is no such row.
    """

    tail: Head
    hash_before: bytes | None
    epoch: int
    known: dict[str, RecordedEvent]
    versions: dict[str, int]
    projections: dict[str, tuple[int, int]]
    others: Sequence[Rows]


def look(home: str, before: int, ids: Iterable[str], streams: Iterable[str]) -> list[Query]:
    """All that an append of these events to these streams has to know. `before`: where the log was known to end."""
    return [
        Query(_LAST, (before, home)),
        known(ids),
        Query(_VERSIONS, (texts(streams),)),
        Query(_PROJECTIONS),
    ]


def found(answers: Sequence[Rows]) -> Found:
    """What the queries of `look`, and others after them, were answered."""
    [(position, last_hash, recorded_at, epoch, hash_before)], rows, versions, projections, *others = answers
    return Found(
        tail=EMPTY if position is None else Head(position, last_hash, recorded_at),
        hash_before=hash_before,
        epoch=epoch or 0,
        known=by_id(rows),
        versions={stream: version or 0 for stream, version in versions},
        projections={name: (version, position) for name, version, position in projections},
        others=others,
    )


def known(ids: Iterable[str]) -> Query:
    """The rows of these event ids that the log has."""
    return Query(_KNOWN, (texts(ids),))


def by_id(rows: Rows) -> dict[str, RecordedEvent]:
    """The answer to `known`."""
    events = map(RecordedEvent._make, rows)
    return {event.event_id: event for event in events}
