"""One query of a stranger's on the log's database: it can change nothing, and it ends in time."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventstore.source import unsupported


class QueryTimedOut(Exception):
    """The query took longer than it may."""


class Answer(NamedTuple):
    """Columns and rows; `is_cut` when there are more rows than were asked for."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool


def ask(url: str, sql: str, *, limit: int, seconds: float) -> Answer:
    """The first `limit` rows of one SELECT; its values are None, numbers, texts or bytes.

    Raises `InvalidRequest` for what is no statement, or none that only reads; `QueryTimedOut`; and `StoreUnavailable`
    or `StoreDamaged` as any reader.
    """
    if url.startswith("sqlite:"):
        from eventstore import sqlite_query

        return sqlite_query.ask(url, sql, limit=limit, seconds=seconds)
    if url.startswith("postgresql:"):
        from eventstore import postgres_query

        return postgres_query.ask(url, sql, limit=limit, seconds=seconds)
    raise unsupported(url)
