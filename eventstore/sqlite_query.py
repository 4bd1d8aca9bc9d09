"""One query of a stranger's on a SQLite database: it can change nothing, look at no other file, and ends in time."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable

from eventstore.errors import InvalidRequest, NoDatabase
from eventstore.query import Answer, QueryTimedOut, Weighed, within
from eventstore.sqlite_file import ERRORS, connect_read_only, identity, path_of, translate

_STEPS_BETWEEN_LOOKS = 10_000  # of SQLite's machine: some 0.1 ms
_LONGEST_VALUE_BYTES = 64 * 1024 * 1024
_LONGEST_PATTERN_BYTES = 1_000  # LIKE takes time in powers of it
_MOST_MEMORY_BYTES = (
    512 * 1024 * 1024
)  # of SQLite's, for sorting and for values; what is sorted beyond goes to a file
_READS = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_LOOKING_PRAGMAS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info"})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
_ASKED_WRONGLY = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)


def ask(url: str, sql: str, *, limit: int, seconds: float) -> Answer:
    """See `eventstore.query.ask`."""
    return within(seconds, lambda: _ask(url, sql, limit, seconds))


def _ask(url: str, sql: str, limit: int, seconds: float) -> Answer:
    path = path_of(url)
    if identity(path) is None:
        raise NoDatabase(f"cannot read {path}: there is no such file; nothing has been recorded there yet")
    connection = connect_read_only(path)
    with contextlib.closing(connection):
        deadline = time.monotonic() + seconds
        _confine(connection, lambda: time.monotonic() > deadline)
        found = Weighed()
        try:
            cursor = connection.execute(sql)
            while len(found.rows) <= limit and (row := cursor.fetchone()) is not None:
                found.add(row)
        except MemoryError as error:
            raise InvalidRequest(
                f"cannot run this statement: it needs more than {_MOST_MEMORY_BYTES // 1024**2} MiB; ask for less"
            ) from error
        except (*ERRORS, UnicodeEncodeError, ValueError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code == sqlite3.SQLITE_INTERRUPT:
                raise QueryTimedOut(seconds) from error
            if code in _ASKED_WRONGLY:
                raise InvalidRequest(
                    f"cannot run this statement: {error}; only reading is allowed"
                ) from error
            raise translate(error, path, "read") or error from error
        if cursor.description is None:
            raise InvalidRequest("cannot run this statement: it gives no rows; write one SELECT")
        columns = tuple(column[0] for column in cursor.description)
        return Answer(columns, found.rows[:limit], len(found.rows) > limit)


def _confine(connection: sqlite3.Connection, is_over: Callable[[], bool]) -> None:
    """From now on it reads this database alone, within limits, until `is_over`."""
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    connection.execute(f"PRAGMA hard_heap_limit = {_MOST_MEMORY_BYTES}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _LONGEST_PATTERN_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_may)
    connection.set_progress_handler(is_over, _STEPS_BETWEEN_LOOKS)


def _may(action: int, one: str | None, other: str | None, *_: object) -> int:
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if one in _LOOKING_PRAGMAS else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and other in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
