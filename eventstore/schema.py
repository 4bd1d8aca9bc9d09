"""Which schema a database has, and bringing it up to date. alembic is imported only where something has to change."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from eventstore.errors import InvalidRequest, NoDatabase, SchemaMismatch

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from eventstore.backend import Backend

HEAD = "0001"  # the newest migration; a test compares it with alembic's own answer

VERSION_QUERY = "SELECT version_num FROM alembic_version"


def require_head(found: str | None, *, where: str) -> None:
    """Return if `found` is the schema of this release.

    Raises `NoDatabase` for None, `SchemaMismatch` for an older schema (to be upgraded) and for a newer or foreign one.
    """
    if found == HEAD:
        return
    if found is None:
        raise NoDatabase(f"cannot read {where}: nothing has been recorded there yet; start an agent first")
    if found.isdigit() and found < HEAD:
        raise SchemaMismatch(
            f"cannot use {where}: its schema is {found}, this release needs {HEAD}; run `outlive db upgrade`",
            found=found,
            wanted=HEAD,
            is_newer=False,
        )
    raise SchemaMismatch(
        f"cannot use {where}: its schema is {found}, this release knows {HEAD}; upgrade outlive",
        found=found,
        wanted=HEAD,
        is_newer=True,
    )


def upgrade(url: str) -> str:
    """Bring the database (made if missing) up to `HEAD`; the revision it has then.

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


def backend_for(url: str) -> Backend:
    """The backend that serves `url`; nothing is opened yet. Raises `InvalidRequest` for a scheme that none serves."""
    if url.startswith("sqlite:"):
        from eventstore.sqlite import SqliteBackend

        return SqliteBackend(url)
    raise InvalidRequest(f"cannot open {url.partition(':')[0]} databases: only sqlite:///PATH is supported")


def migrate(connection: Connection) -> None:
    """Run the missing migrations in the connection's transaction, silently."""
    from alembic import command
    from alembic.config import Config

    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def migrations_directory() -> Path:
    """Where the migrations are: inside the installed package, else beside it in a source tree."""
    installed = Path(__file__).parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "migrations"
