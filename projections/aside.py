"""A fold of the log's beginning in tables of its own, in a temporary file, to be compared with rows that there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import TEXT, Column, MetaData, NullPool, Table, create_engine, insert

from eventstore.reader import PAGE_ROWS, Reader
from eventstore.statements import Statements
from projections.kinds import Kind
from projections.rows import Row

Rows = Callable[[str, Sequence[object]], list[Any]]
Key = tuple[Any, ...]

# What a fold reads beside the log.
_LINES = Table("payloads", MetaData(), Column("digest", TEXT, primary_key=True), Column("error_line", TEXT))


@contextmanager
def folded_aside(reader: Reader, kind: Kind, *, until: int) -> Iterator[Rows]:
    """Ask rows of the projection's tables as the log up to position `until` has them. In bounded memory.

    Raises what the fold raises: `StoreDamaged`, `IllegalTransition`.
    """
    # A database without a name is a temporary file that SQLite deletes.
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect("", isolation_level=None), poolclass=NullPool
    )
    with engine.connect() as connection:
        for table in kind.tables:
            table.create(connection)
        _LINES.create(connection)
        lines = in_order(reader.rows, _LINES)
        while some := list(islice(lines, PAGE_ROWS)):
            connection.execute(insert(_LINES), some)
        projection = kind.over(kind.tables)
        events = reader.events(until=until)
        while page := list(islice(events, PAGE_ROWS)):
            projection.apply(connection, page)
        yield Statements(connection).rows
    engine.dispose()


def in_order(rows: Rows, table: Table) -> Iterator[Row]:
    """All rows of a table in the order of its key, fetched in pages."""
    names = [column.name for column in table.columns]
    keys = [column.name for column in table.primary_key.columns]
    key = ", ".join(keys)
    query = f"SELECT {', '.join(names)} FROM {table.name}"  # noqa: S608 (our own names)
    after = ""
    last: tuple[Any, ...] = ()
    while page := rows(f"{query}{after} ORDER BY {key} LIMIT {PAGE_ROWS}", last):
        for stored in page:
            yield dict(zip(names, stored, strict=True))
        after = f" WHERE ({key}) > ({', '.join('?' * len(keys))})"
        last = tuple(page[-1][names.index(name)] for name in keys)


def merged(
    left: Iterator[Row], right: Iterator[Row], keys: Sequence[str]
) -> Iterator[tuple[Key, Row | None, Row | None]]:
    """Rows of two tables beside each other by their key; None where one of them lacks the row."""

    def key(row: Row) -> Key:
        return tuple(row[name] for name in keys)

    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and key(one) < key(other)):
            assert one is not None
            yield key(one), one, None
            one = next(left, None)
        elif one is None or key(other) < key(one):
            yield key(other), None, other
            other = next(right, None)
        else:
            yield key(one), one, other
            one, other = next(left, None), next(right, None)
