"""Which schema a database has, bringing it up to date, and which backend serves it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from eventstore.revision import HEAD
from eventstore.source import source_of, unsupported

if TYPE_CHECKING:
    from eventstore.backend import Backend


def upgrade(url: str) -> str:
    """Bring the database (made if missing), and the triggers of its log, up to `HEAD`; the revision it has then.

    Raises `SchemaMismatch` for a newer one, `StoreUnavailable` while somebody else is writing.
    """
    backend = backend_for(url)
    try:
        backend.prepare(is_upgrade=True)
        return HEAD
    finally:
        backend.close()


def current(url: str) -> str | None:
    """The revision of the database's schema, None if there is no database or nothing in it."""
    backend = backend_for(url)
    try:
        return backend.schema_version()
    finally:
        backend.close()


def settle(url: str) -> None:
    """See `Backend.settle`; there need be no database. Raises `StoreUnavailable`, `StoreDamaged`."""
    with closing(backend_for(url)) as backend:
        backend.settle()


def is_guarded(url: str) -> bool:
    """Whether the triggers that keep the log from being changed are as they should be. For a database at `HEAD`."""
    with closing(source_of(url)) as source:
        return source.is_guarded()


def replaced_views(url: str) -> list[str]:
    """Names of the views for reports that are not as they should be. For a database at `HEAD`."""
    with closing(source_of(url)) as source:
        return source.replaced_views()


def backend_for(url: str) -> Backend:
    """The backend that serves `url`; nothing is opened yet. Raises `InvalidRequest` for a scheme that none serves."""
    if url.startswith("sqlite:"):
        from eventstore.sqlite import SqliteBackend

        return SqliteBackend(url)
    if url.startswith("postgresql:"):
        from eventstore.postgres import PostgresBackend

        return PostgresBackend(url)
    raise unsupported(url)
