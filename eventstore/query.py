"""One query of a stranger's on the log's database: it can change nothing, and it ends in time.

A database looks at the clock now and then, but not within one call of `replace` or `instr`, which can take weeks. So a
query runs in a thread of its own, which holds no lock of the interpreter's meanwhile, and nobody waits for it once time
is over: such a call goes on until the process ends, which for a command is at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from eventstore.errors import InvalidRequest
from eventstore.source import unsupported

MOST_BYTES = 64 * 1024 * 1024  # of one answer: it is held, and written, as a whole
_LATE_SECONDS = 1.0  # for a database to say by itself that time is over


class QueryTimedOut(Exception):
    """The query took longer than it may: so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"cannot go on: the query has taken {seconds:g} s")


class Answer(NamedTuple):
    """Columns and rows; `is_cut` when there are more rows than were asked for."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool


class Weighed:
    """Rows that are held together: InvalidRequest for more than `MOST_BYTES` of texts and bytes."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """One more."""
        self._bytes += sum(len(value) for value in row if isinstance(value, str | bytes))
        if self._bytes > MOST_BYTES:
            raise InvalidRequest(
                f"cannot show more than {MOST_BYTES // 1024**2} MiB at once; "
                "ask for fewer rows, or for a part of each value: substr(…)"
            )
        self.rows.append(row)


def ask(url: str, sql: str, *, limit: int, seconds: float) -> Answer:
    """The first `limit` rows of one SELECT; its values are None, numbers, texts or bytes.

    Raises `InvalidRequest` for what is no statement, or none that only reads, or takes too much memory;
    `QueryTimedOut`; and `StoreUnavailable` or `StoreDamaged` as any reader.
    """
    if url.startswith("sqlite:"):
        from eventstore import sqlite_query

        return sqlite_query.ask(url, sql, limit=limit, seconds=seconds)
    if url.startswith("postgresql:"):
        from eventstore import postgres_query

        return postgres_query.ask(url, sql, limit=limit, seconds=seconds)
    raise unsupported(url)


def within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """What `work` returns or raises, else `QueryTimedOut`: it is waited for that long and no longer."""
    results: list[Answer | BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, name="query", daemon=True)
    thread.start()
    thread.join(seconds + _LATE_SECONDS)
    if not results:
        raise QueryTimedOut(seconds)
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]
