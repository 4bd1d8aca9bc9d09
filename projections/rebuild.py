"""Making the rows of a projection, and the epochs, anew from the log. `projections/checking.py` compares them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, MetaData, Table

from eventstore.appending import Statements
from eventstore.inline import pages, write_checkpoint
from eventstore.store import EventStore
from projections import tables
from projections.agents import AgentsProjection

_NEAR = 1000  # events left for the transaction that swaps, which holds the write lock


def rebuild(store: EventStore) -> int:
    """Fold the log into new tables beside the live ones, then put the new rows in place; the position they stand at.

    Readers see the old rows until the swap, which is one transaction. Appends wait for the last few events only.
    """
    building = _Building()
    with store.write() as connection:
        building.create(connection)
    position = 0
    while (head := store.head().position) - position > _NEAR:
        for page in _chunks(position, head):
            with store.write() as connection:
                building.take_in(connection, *page)
        position = head
    with store.write() as connection:
        head = Statements(connection).rows("SELECT coalesce(max(position), 0) FROM events")[0][0]
        building.take_in(connection, position, head)
        building.swap(connection, head)
        _mend_epochs(Statements(connection))
    return int(head)


class _Building:
    """The tables beside the live ones."""

    def __init__(self) -> None:
        metadata = MetaData()
        self._pairs = [(_beside(live, metadata), live) for live in (tables.agents, tables.attempts)]
        self._projection = AgentsProjection(agents=self._pairs[0][0], attempts=self._pairs[1][0])

    def create(self, connection: Connection) -> None:
        """Make them, over what a rebuild that was killed left behind."""
        for new, _ in self._pairs:
            new.drop(connection, checkfirst=True)
            new.create(connection)

    def take_in(self, connection: Connection, after: int, until: int) -> None:
        for page in pages(Statements(connection), after=after, until=until):
            self._projection.apply(connection, page)

    def swap(self, connection: Connection, position: int) -> None:
        for new, live in self._pairs:
            connection.execute(live.delete())
            connection.execute(live.insert().from_select([c.name for c in live.columns], new.select()))
            new.drop(connection)
        statements = Statements(connection)
        statements.run("DELETE FROM projections WHERE name <> ?", (self._projection.name,))
        write_checkpoint(statements, self._projection, position)


def _mend_epochs(statements: Statements) -> None:
    """Make the epochs those of the log. Their triggers, which keep them from going back, make way for it."""
    logged = statements.rows(
        "SELECT home, max(epoch) FROM events WHERE epoch > 0 GROUP BY home ORDER BY home"
    )
    if statements.rows("SELECT home, epoch FROM epochs ORDER BY home") == logged:
        return
    triggers = statements.rows(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'epochs'"
    )
    for name, _ in triggers:
        statements.run(f'DROP TRIGGER "{name}"')
    statements.run("DELETE FROM epochs")
    statements.run_many("INSERT INTO epochs (home, epoch) VALUES (?, ?)", logged)
    for _, sql in triggers:
        statements.run(sql)


def _beside(live: Table, metadata: MetaData) -> Table:
    columns = [column._copy() for column in live.columns]  # noqa: SLF001 (Table.to_metadata would copy the indexes)
    return Table(f"{live.name}_building", metadata, *columns, sqlite_strict=True)


def _chunks(after: int, until: int) -> Iterator[tuple[int, int]]:
    for start in range(after, until, _NEAR):
        yield start, min(start + _NEAR, until)
