"""The connection that writes: what needs no answer waits for what does, or for the commit, and goes with it.

An append costs two round trips so: the lock with all that has to be looked up, and all that is written with its COMMIT.
Statements are prepared on first use, in the same message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Cursor
from psycopg.pq import Escaping

from eventstore.postgres_source import ERRORS, Link, is_lost
from eventstore.statements import AMONG, Query

_MAX_WAITING_BYTES = 4 << 20
_MAX_PREPARED = 200
_SEPARATOR = b";\n"
_AMONG = "= ANY (ARRAY(SELECT json_object_keys(CAST(? AS json))))"


class BatchingLink(Link):
    """A connection of one thread at a time. What waits when it is rolled back is forgotten."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._escaped = Escaping(self.pgconn).escape_literal
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._plans: dict[str, bytes] = {}
        self._plans_made = 0

    def put(self, sql: str, *rows: Sequence[object]) -> None:
        """See `statements.Driver`."""
        for row in rows or ((),):
            self._wait_for_next(self._text(sql, row))
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self.flush()

    def ask(self, queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
        """The rows of each query, after all that waits, in one round trip."""
        for text in [self._text(*query) for query in queries]:  # what prepares them comes before the first
            self._wait_for_next(text)
        cursor = self.flush()
        answers = []
        for number in range(-len(queries), 0):
            cursor.set_result(number)
            has_rows = cursor.pgresult is not None and cursor.pgresult.nfields > 0
            answers.append(cursor.fetchall() if has_rows else [])
        return answers

    def count(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Send all that waits, and a statement; the number of rows that it touched."""
        self._wait_for_next(self._text(sql, parameters))
        cursor = self.flush()
        cursor.set_result(-1)
        return cursor.rowcount

    def flush(self) -> Cursor[tuple[Any, ...]]:
        """Send all that waits. Nothing that came after a statement that fails is done."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        cursor = super().cursor()
        try:
            return cursor.execute(_SEPARATOR.join(waiting)) if waiting else cursor
        except BaseException as error:
            self._plans.clear()  # which of them there are is not known
            if isinstance(error, ERRORS) and is_lost(error):
                self.close()
            raise

    def cursor(self, *arguments: Any, **named: Any) -> Any:
        """As psycopg's, for others: all that waits is sent before."""
        if self._waiting:
            self.flush()
        return super().cursor(*arguments, **named)

    def commit(self) -> None:
        """Send all that waits, and COMMIT."""
        if not self._waiting:
            super().commit()
            return
        self._wait_for_next(b"COMMIT")
        self.flush()

    def rollback(self) -> None:
        """Forget what waits, and ROLLBACK."""
        if self._waiting:
            self._waiting, self._waiting_bytes = [], 0
            self._plans.clear()
        super().rollback()

    def _wait_for_next(self, text: bytes) -> None:
        self._waiting.append(text)
        self._waiting_bytes += len(text)

    def _text(self, sql: str, parameters: Sequence[object]) -> bytes:
        if not parameters:
            return sql.encode()
        name = self._plans.get(sql) or self._prepare(sql, parameters)
        return b"EXECUTE %b(%b)" % (name, b", ".join(map(self._literal, parameters)))

    def _prepare(self, sql: str, parameters: Sequence[object]) -> bytes:
        if len(self._plans) >= _MAX_PREPARED:
            self._plans.clear()
        if not self._plans:
            self._wait_for_next(b"DEALLOCATE ALL")
        self._plans_made += 1
        name = self._plans[sql] = b"o%d" % self._plans_made
        # An array, for which there is but one plan; a set of rows may be joined by reading the whole index.
        first, *others = sql.replace(AMONG, _AMONG).split("?")
        numbered = first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
        types = ", ".join("bigint" if isinstance(value, int) else "unknown" for value in parameters)
        self._wait_for_next(b"PREPARE %b (%b) AS %b" % (name, types.encode(), numbered.encode()))
        return name

    def _literal(self, value: object) -> bytes:
        if value is None:
            return b"NULL"
        if isinstance(value, int):
            return b"%d" % value
        if isinstance(value, bytes):
            return b"'\\x%b'" % value.hex().encode()
        return bytes(self._escaped(str(value).encode()))
