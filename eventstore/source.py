"""A database to read from, whatever it is, and the one that a URL names. Loads no driver but the one that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from eventstore.errors import InvalidRequest, NoDatabase, SchemaMismatch
from eventstore.revision import HEAD, VERSION_QUERY


class Source(Protocol):
    """A database to read from. Parameters are marked `?`."""

    @property
    def where(self) -> str:
        """The database, for messages."""

    def raw(self) -> Source:
        """Another source that gives texts as the bytes that are stored."""

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows."""

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows one by one, for a source that nobody else uses meanwhile. The database's past is kept so long."""

    def has_table(self, name: str) -> bool:
        """Whether there is a table of this name."""

    def faults(self) -> list[str]:
        """What the database finds wrong with its own tables and indexes, a line each."""

    def is_guarded(self) -> bool:
        """Whether the triggers that keep the log from being changed are there as the schema has them, and no others."""

    def is_standby(self) -> bool:
        """Whether it follows another server, which takes the writes, and may be behind it."""

    def replaced_views(self) -> list[str]:
        """Names of the views for reports that are not as the schema has them, where that can be told."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Queries inside see one moment of the database."""

    def hold(self) -> AbstractContextManager[str]:
        """From now on every query sees this moment; inside, temporary tables and views may be made.

        Gives the name of the schema that the others are in, which the temporary ones hide.
        """

    def nothing(self) -> NoDatabase:
        """The error for a database in which there is no log."""

    def close(self) -> None:
        """Let go of the database."""


def source_of(url: str, *, to_write: bool = False) -> Source:
    """The database at `url`, to read from; its driver is loaded here. Raises as `Reader.open`.

    `to_write`: for somebody who writes there, too: of several servers the one that takes writes.
    """
    if url.startswith("sqlite:"):
        from eventstore.sqlite_file import SqliteSource, path_of

        return SqliteSource(path_of(url))
    if url.startswith("postgresql:"):
        from eventstore.postgres_errors import place_of
        from eventstore.postgres_source import PostgresSource

        place = place_of(url)
        return PostgresSource(place.to_write() if to_write else place)
    raise unsupported(url)


def unsupported(url: str) -> InvalidRequest:
    """The error for a URL that names no database that is known."""
    kind, colon, _ = url.partition(":")
    if not colon:  # not shown: it may have a password, with whatever separates it
        kind = "such"
    if kind == "postgres":
        return InvalidRequest("cannot open postgres databases: write postgresql:// instead of postgres://")
    return InvalidRequest(
        f"cannot open {kind} databases: name sqlite:///PATH or postgresql://user@host/database"
    )


def schema_version(source: Source) -> str | None:
    """The revision of the schema; None for a database with nothing in it. Raises `SchemaMismatch` for a stranger's."""
    has_events = source.has_table(
        "events"
    )  # asked first: another process may make both just now, in one commit
    if source.has_table("alembic_version"):
        rows = source.fetch(VERSION_QUERY)
        return str(rows[0][0]) if rows else None
    if has_events:
        raise SchemaMismatch(
            f"cannot use {source.where}: it was not made by outlive; name another file",
            found="none",
            wanted=HEAD,
            is_newer=True,
        )
    return None
