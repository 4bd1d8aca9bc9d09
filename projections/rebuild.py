"""Making the rows of projections, and the epochs, anew from the log. `projections/checking.py` compares them."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing

from sqlalchemy import Connection, MetaData, Table, inspect

from eventstore.errors import StoreUnavailable
from eventstore.inline import pages, write_checkpoint
from eventstore.migrating import put_back_views
from eventstore.statements import Statements
from eventstore.store import EventStore
from projections import lines
from projections.kinds import KINDS, Kind

_MARK = "_building_"
_NEAR = 1000  # events left for the transaction that swaps, which holds the write lock


def rebuild(store: EventStore, names: Collection[str] = ()) -> int:
    """Fold the log into new tables beside the live ones, then put the new rows in place; the position they stand at.

    The error lines that are kept beside texts are told anew from these; views that were replaced are put back. `names`:
    only these projections. Readers see the old rows until the swap, which is one transaction. Appends wait for the last
    few events and the swap only.
    """
    buildings = [_Building(kind) for name, kind in KINDS.items() if not names or name in names]
    with store.write() as connection:
        for building in buildings:
            building.create(connection)
        lines.mend(Statements(connection))
    with closing(store.reader()) as reader:
        are_replaced = bool(reader.replaced_views())
    position = 0
    while (head := store.head().position) - position > _NEAR:
        for page in _chunks(position, head):
            with store.write() as connection:
                _take_in(connection, buildings, *page)
        position = head
    with store.write() as connection:
        statements = Statements(connection)
        head = statements.rows("SELECT coalesce(max(position), 0) FROM events")[0][0]
        _take_in(connection, buildings, position, head)
        for building in buildings:
            building.swap(connection, head)
        _forget_strangers(statements)
        if not names:
            _mend_epochs(statements)
            if are_replaced:
                put_back_views(connection)
    return int(head)


def _take_in(connection: Connection, buildings: Sequence[_Building], after: int, until: int) -> None:
    for building in buildings:
        building.require_ours(connection)
    for page in pages(Statements(connection), after=after, until=until):
        for building in buildings:
            building.projection.apply(connection, page)


class _Building:
    """The tables of a projection beside the live ones."""

    def __init__(self, kind: Kind) -> None:
        metadata, mark = MetaData(), secrets.token_hex(4)
        self._pairs = [(beside(live, metadata, f"{live.name}{_MARK}{mark}"), live) for live in kind.tables]
        self.projection = kind.over([new for new, _ in self._pairs])

    def create(self, connection: Connection) -> None:
        """Make them; what a rebuild that was killed left behind, or one that goes on elsewhere, is dropped."""
        found = inspect(connection).get_table_names()
        for new, live in self._pairs:
            for name in found:
                if name.startswith(live.name + _MARK):
                    Table(name, MetaData()).drop(connection)
            new.create(connection)

    def require_ours(self, connection: Connection) -> None:
        """Raise `StoreUnavailable` when another rebuild has dropped them."""
        if not all(inspect(connection).has_table(new.name) for new, _ in self._pairs):
            raise StoreUnavailable(
                f"cannot go on to rebuild {self.projection.name}: another rebuild of it has begun; wait for that one"
            )

    def swap(self, connection: Connection, position: int) -> None:
        for new, live in self._pairs:
            connection.execute(live.delete())
            connection.execute(live.insert().from_select([c.name for c in live.columns], new.select()))
            new.drop(connection)
        write_checkpoint(Statements(connection), self.projection, position)


def beside(live: Table, metadata: MetaData, name: str) -> Table:
    """A table of the shape of `live`, with another name and without its indexes."""
    columns = [column._copy() for column in live.columns]  # noqa: SLF001 (Table.to_metadata would copy the indexes)
    return Table(name, metadata, *columns, sqlite_strict=True)


def _forget_strangers(statements: Statements) -> None:
    marks = ", ".join("?" * len(KINDS))
    statements.run(f"DELETE FROM projections WHERE name NOT IN ({marks})", tuple(KINDS))  # noqa: S608 (marks)


def _mend_epochs(statements: Statements) -> None:
    """Make the epochs those of the log. Their triggers, which keep them from going back, make way for it."""
    kept = "SELECT home, epoch FROM epochs"
    logged = "SELECT home, max(epoch) FROM events WHERE epoch > 0 GROUP BY home"
    # Compared where they are: a damaged text cannot be read.
    wrong = [
        f"SELECT 1 FROM ({one} EXCEPT {other}) AS wrong"  # noqa: S608
        for one, other in ((kept, logged), (logged, kept))
    ]
    if not any(map(statements.rows, wrong)):
        return
    with statements.unguarded("epochs"):
        statements.run("DELETE FROM epochs")
        statements.run(f"INSERT INTO epochs (home, epoch) {logged}")


def _chunks(after: int, until: int) -> Iterator[tuple[int, int]]:
    for start in range(after, until, _NEAR):
        yield start, min(start + _NEAR, until)
