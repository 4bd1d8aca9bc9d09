"""The connection that writes: what needs no answer waits for what does, or for the commit, and goes with it.

An append costs two round trips so: the lock with all that has to be looked up, and all that is written with its COMMIT;
or one, where nothing has to be looked up. Statements with parameters are prepared on first use, in the same message;
many rows for one of them are one statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import DataError, OperationalError
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.waiting import READY_R, WAIT_R, WAIT_RW

from eventstore.postgres_errors import ERRORS, is_lost
from eventstore.postgres_source import Link
from eventstore.statements import AMONG, Query

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGresult

_MAX_WAITING_BYTES = 4 << 20
_MAX_PREPARED = 200
_MAX_TOGETHER = 64  # rows of one statement; up to 16, it is prepared for each number of them
_AMONG = "= ANY (ARRAY(SELECT json_object_keys(CAST(? AS json))))"
_ROW = re.compile(r"VALUES (\((?:\?, )*\?\))")
_INTEGER, _ANY = 20, 0  # types of parameters: bigint, and what the statement makes of it
_TEXT, _BINARY = 0, 1


class BatchingLink(Link):
    """A connection of one thread at a time. What waits when it is rolled back is forgotten."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: list[Callable[[], None]] = []
        self._waiting_bytes = 0
        self._plans: dict[str, bytes] = {}
        self._plans_made = 0

    def put(self, sql: str, *rows: Sequence[object]) -> None:
        """See `statements.Driver`."""
        if not rows or rows == ((),):
            self._waiting.append(partial(self.pgconn.send_query_params, sql.encode(), None))
            return
        for text, row in _together(sql, rows):
            self._waiting.append(self._execution(text, row))
            if self._waiting_bytes > _MAX_WAITING_BYTES:
                self.flush()

    def ask(self, queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
        """The rows of each query, after all that waits, in one round trip."""
        # What prepares them comes before the first.
        self._waiting += [self._execution(*query) for query in queries]
        results = self.flush()
        rows = Transformer(self)
        answers = []
        for result in results[len(results) - len(queries) :]:
            rows.set_pgresult(result)
            answers.append(rows.load_rows(0, result.ntuples, tuple))
        return answers

    def count(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Send all that waits, and a statement; the number of rows that it touched."""
        self._waiting.append(self._execution(sql, parameters))
        return self.flush()[-1].command_tuples or 0

    def flush(self) -> list[PGresult]:
        """Send all that waits. Nothing that came after a statement that fails is done."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        try:
            return self.wait(self._exchange(waiting)) if waiting else []
        except BaseException as error:
            self._plans.clear()  # which of them there are is not known
            if not isinstance(error, ERRORS) or is_lost(error):
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
        self.put("COMMIT")
        self.flush()

    def rollback(self) -> None:
        """Forget what waits, and ROLLBACK."""
        if self._waiting:
            self._waiting, self._waiting_bytes = [], 0
            self._plans.clear()
        super().rollback()

    def _execution(self, sql: str, parameters: Sequence[object]) -> Callable[[], None]:
        name = self._plans.get(sql) or self._prepare(sql, parameters)
        values = [
            None if value is None else _BYTES.get(value.__class__, _text)(value) for value in parameters
        ]
        self._waiting_bytes += len(sql) + sum(map(len, filter(None, values)))
        formats = [_BINARY if value.__class__ is bytes else _TEXT for value in parameters]
        return partial(self.pgconn.send_query_prepared, name, values, formats)

    def _prepare(self, sql: str, parameters: Sequence[object]) -> bytes:
        if len(self._plans) >= _MAX_PREPARED:
            self._plans.clear()
        if not self._plans:
            self._waiting.append(partial(self.pgconn.send_query_params, b"DEALLOCATE ALL", None))
        self._plans_made += 1
        name = self._plans[sql] = b"o%d" % self._plans_made
        # An array, for which there is but one plan; a set of rows may be joined by reading the whole index.
        first, *others = sql.replace(AMONG, _AMONG).split("?")
        numbered = first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
        types = [_INTEGER if isinstance(value, int) else _ANY for value in parameters]
        self._waiting.append(partial(self.pgconn.send_prepare, name, numbered.encode(), types))
        return name

    def _exchange(self, sends: Sequence[Callable[[], None]]) -> PQGen[list[PGresult]]:
        """Send them all, then take all results: the last are those of the last. Raises the first error."""
        results: list[PGresult] = []
        connection = self.pgconn
        try:
            connection.enter_pipeline_mode()
            for send in sends:
                send()
            connection.pipeline_sync()
            while connection.flush():
                if (yield WAIT_RW) & READY_R:
                    connection.consume_input()
            while True:
                while connection.is_busy():
                    yield WAIT_R
                    connection.consume_input()
                result = connection.get_result()
                if result is None and connection.status == ConnStatus.BAD:
                    raise OperationalError("the connection is lost")
                if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                    break
                if result is not None:
                    results.append(result)
            connection.exit_pipeline_mode()
        finally:
            failed = next((result for result in results if result.status == ExecStatus.FATAL_ERROR), None)
            if failed is not None:
                raise error_from_result(failed, "utf-8")
        return results


def _together(sql: str, rows: Sequence[Sequence[object]]) -> Iterator[tuple[str, Sequence[object]]]:
    """The statement for as many rows at a time as there may be: parts that are alike, so that few are prepared."""
    found = _ROW.search(sql) if len(rows) > 1 else None
    if found is None:
        yield from ((sql, row) for row in rows)
        return
    start = 0
    while left := min(len(rows) - start, _MAX_TOGETHER):
        count = left if left <= 16 else 1 << (left.bit_length() - 1)
        marks = ", ".join([found[1]] * count)
        part = rows[start : start + count]
        yield f"{sql[: found.start(1)]}{marks}{sql[found.end(1) :]}", [value for row in part for value in row]
        start += count


def _text(value: object) -> bytes:
    text = str(value)
    if "\0" in text:  # libpq would take what is before it
        raise DataError("a text holds a NUL character")
    return text.encode()


_BYTES: dict[type, Callable[[Any], bytes]] = {bytes: bytes, int: b"%d".__mod__, bool: b"%d".__mod__}
