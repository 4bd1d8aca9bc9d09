"""Projections, those that are applied in the append's own transaction, and bringing one up to date that lags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from eventstore.appending import questions as questions_of_append
from eventstore.memory import First
from eventstore.record import COLUMNS, Head, RecordedEvent
from eventstore.statements import Query, Rows, Statements

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from eventstore.appending import Appending, Draft, Order
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

    def question(self, home: str, drafts: Iterable[Draft]) -> Query:
        """What to ask, before these are appended, for `apply_knowing`: another query costs a round trip.

        It may be answered with no rows without being asked; then the database has to refuse what they forbid.
        """

    def apply_knowing(
        self, connection: Connection, events: Sequence[RecordedEvent], answer: Rows | None
    ) -> None:
        """`apply` with what its `question` was answered; None: nothing was asked."""

    def forget(self) -> None:
        """What was applied last was not committed, or may not have been."""

    def reset(self, connection: Connection) -> None:
        """Empty the projection's tables."""

    def doubt(self, reader: Reader, *, rows: int) -> str | None:
        """What of its rows is not what the log says, as far as its last `rows` events tell; None for nothing."""


def questions(inlines: Iterable[Inline], home: str, known: Head, orders: Sequence[Order] = ()) -> First:
    """What to ask before `apply`, together with what the append asks of a log that was `known` to end so."""
    drafts = [draft for order in orders for _, _, drafts in order.batches for draft in drafts]
    asked = questions_of_append(home, known.position, orders)
    return First([*asked, *(inline.question(home, drafts) for inline in inlines)], known=known)


def apply(connection: Connection, inlines: Sequence[Inline], appending: Appending) -> None:
    """Apply the new events, which have just been inserted, and move the checkpoints, catching up first what lags."""
    events, found = appending.new, appending.found
    for inline, answer in zip(inlines, found.others, strict=True):
        if found.projections.get(inline.name) != (inline.version, appending.tail):
            catch_up(connection, inline, until=appending.tail)
        inline.apply_knowing(connection, events, answer)
        write_checkpoint(Statements(connection), inline, events[-1].position)


@contextmanager
def forgetting(inlines: Sequence[Inline]) -> Iterator[None]:
    """Tell them when what they took in was not committed, or may not have been."""
    try:
        yield
    except BaseException:
        for inline in inlines:
            inline.forget()
        raise


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
