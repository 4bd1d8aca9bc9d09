"""Statements in a transaction, through the driver: the same text on every database, its parameters marked `?`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

EACH = "(SELECT key FROM json_each(CAST(? AS TEXT)))"  # its parameter: `texts`
AMONG = f"IN {EACH}"  # the same
Rows = list[Any]


class Query(NamedTuple):
    """A statement that asks, with its parameters."""

    sql: str
    parameters: Sequence[object] = ()


def texts(some: Iterable[str]) -> str:
    """Any number of texts as one parameter: the keys of an object."""
    # By hand, for `json.dumps` with any option makes an encoder each time: five of six microseconds.
    keys = ",".join([f"{encode_basestring(text)}:0" for text in dict.fromkeys(some)])
    return f"{{{keys}}}"


class Driver(Protocol):
    """A database's connection. Of what is `put`, a database that is far away may hear when something is asked."""

    def put(self, sql: str, *rows: Sequence[object]) -> None:
        """Run a statement for each of some rows of parameters; its error may come later, with the commit at last."""

    def ask(self, queries: Sequence[Query]) -> list[Rows]:
        """The rows of each query."""

    def count(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows that it touched."""


class SqliteDriver:
    """The cursor of sqlite3."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def put(self, sql: str, *rows: Sequence[object]) -> None:
        """At once."""
        if len(rows) < 2:
            self._cursor.execute(sql, *rows)
        else:
            self._cursor.executemany(sql, rows)

    def ask(self, queries: Sequence[Query]) -> list[Rows]:
        """One after the other."""
        return [self._cursor.execute(sql, parameters).fetchall() for sql, parameters in queries]

    def count(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """See `Driver`."""
        return int(self._cursor.execute(sql, parameters).rowcount)


class Statements:
    """What a transaction says to its driver: a quarter of SQLAlchemy's cost for a statement."""

    def __init__(self, connection: Connection) -> None:
        self._is_sqlite = connection.dialect.name == "sqlite"
        raw: Any = connection.connection.driver_connection
        self._driver: Driver = SqliteDriver(raw.cursor()) if self._is_sqlite else raw

    def ask(self, queries: Sequence[Query]) -> list[Rows]:
        """All rows of each query, in one round trip."""
        return self._driver.ask(queries)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        """All rows of a query."""
        return self._driver.ask([Query(sql, parameters)])[0]

    def run(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement. Its error may come later, with the commit at last."""
        self._driver.put(sql, parameters)

    def run_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        if rows:
            self._driver.put(sql, *rows)

    def count(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows that it touched."""
        return self._driver.count(sql, parameters)

    @contextmanager
    def unguarded(self, table: str) -> Iterator[None]:
        """Without the triggers that guard a table, in this transaction; on PostgreSQL its owner alone may."""
        if not self._is_sqlite:
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


@lru_cache(maxsize=1024)
def marked(sql: str) -> str:
    """A statement with its marks as psycopg has them."""
    return sql.replace("%", "%%").replace("?", "%s")
