"""Which schema this release needs, and what to say of another."""

from __future__ import annotations

from eventstore.errors import NoDatabase, SchemaMismatch

HEAD = "0002"  # the newest migration; a test compares it with alembic's own answer

# SHA-256 of the triggers that the migrations make in SQLite, by name; a test makes them and compares.
TRIGGERS = "98f10cf6fa710931099854e6ba64b37a73f26db539e0586ce7863fc596f10836"

# The same of those in PostgreSQL: their tables, names, kinds, whether they are enabled, and what they run.
POSTGRES_TRIGGERS = "93ee32c7448846f9998618694992ef51562dc0ec148dc2eb536e2ec6993769e5"

UNGUARDED = "its triggers are not those that keep the log from being changed"

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
