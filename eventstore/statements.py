"""Statements in a transaction, through the driver: the same text on every database, its parameters marked `?`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Query(NamedTuple):
    """A statement that asks, with its parameters."""

    sql: str
    parameters: Sequence[object] = ()


class Statements:
    """The driver's cursor: a quarter of SQLAlchemy's cost for a statement. Parameters are marked `?`."""

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.connection.cursor()
        self._is_marked = connection.dialect.paramstyle == "qmark"

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        self._cursor.execute(self._sql(sql), tuple(parameters))
        return list(self._cursor.fetchall())

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows that it touched."""
        self._cursor.execute(self._sql(sql), tuple(parameters))
        return self._cursor.rowcount

    def run_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        if len(rows) == 1:  # one round trip less than many take
            self._cursor.execute(self._sql(sql), rows[0])
        else:
            self._cursor.executemany(self._sql(sql), rows)

    @contextmanager
    def unguarded(self, table: str) -> Iterator[None]:
        """Without the triggers that guard a table, in this transaction; on PostgreSQL its owner alone may."""
        if not self._is_marked:
            self.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            yield
            self.run(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            return
        triggers = self.rows(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
        )
        for name, _ in triggers:
            self.run(f'DROP TRIGGER "{name}"')
        yield
        for _, sql in triggers:
            self.run(sql)

    def _sql(self, sql: str) -> str:
        return sql if self._is_marked else marked(sql)


@lru_cache(maxsize=1024)
def marked(sql: str) -> str:
    """A statement with its marks as psycopg has them."""
    return sql.replace("%", "%%").replace("?", "%s")
