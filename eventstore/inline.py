"""Projections, those that are applied in the append's own transaction, and bringing one up to date that lags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from eventstore.record import COLUMNS, RecordedEvent
from eventstore.statements import Statements

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from eventstore.reader import Reader

_PAGE_ROWS = 500
_PAGE = (
    f"SELECT {', '.join(COLUMNS)} FROM events"  # noqa: S608 (names of columns, no values)
    f" WHERE position > ? AND position <= ? ORDER BY position LIMIT {_PAGE_ROWS}"
)


class Projection(Protocol):
    """A fold with its own tables. Apply must be a pure function of the events and of those tables."""

    @property
    def name(self) -> str:
        """Unique; never changes."""

    @property
    def version(self) -> int:
        """Raise it when the fold or the tables change: the rows are then made anew."""

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Take in events that follow those applied before."""


class Inline(Projection, Protocol):
    """One that is applied in the append's transaction: an exception of its `apply` rolls the append back."""

    def reset(self, connection: Connection) -> None:
        """Empty the projection's tables."""

    def doubt(self, reader: Reader, *, rows: int) -> str | None:
        """What of its rows is not what the log says, as far as its last `rows` events tell; None for nothing."""


def apply(connection: Connection, inline: Inline, events: Sequence[RecordedEvent]) -> None:
    """Apply `events`, which have just been inserted, and move the checkpoint, catching up first where it lags."""
    statements = Statements(connection)
    before = events[0].position - 1
    moved = statements.run(
        "UPDATE projections SET position = ? WHERE name = ? AND version = ? AND position = ?",
        (events[-1].position, inline.name, inline.version, before),
    )
    if moved != 1:
        catch_up(connection, inline, until=before)
        write_checkpoint(statements, inline, events[-1].position)
    inline.apply(connection, events)


def catch_up(connection: Connection, inline: Inline, *, until: int) -> None:
    """Make the rows anew from the events up to position `until`: how far they had come is not to be trusted."""
    statements = Statements(connection)
    inline.reset(connection)
    for page in pages(statements, after=0, until=until):
        inline.apply(connection, page)
    write_checkpoint(statements, inline, until)


def pages(statements: Statements, *, after: int, until: int) -> Iterator[list[RecordedEvent]]:
    """The log's events with `after < position <= until`, in bounded pages, as the transaction sees them."""
    while page := [RecordedEvent._make(row) for row in statements.rows(_PAGE, (after, until))]:
        yield page
        after = page[-1].position


def write_checkpoint(statements: Statements, projection: Projection, position: int) -> None:
    """Record that `projection` has taken in everything up to `position`."""
    statements.run(
        "INSERT INTO projections (name, version, position) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET version = excluded.version, position = excluded.position",
        (projection.name, projection.version, position),
    )
