"""Which schema this release needs, and what to say of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from eventstore.errors import NoDatabase, SchemaMismatch

HEAD = "0002"  # the newest migration; a test compares it with alembic's own answer

# SHA-256 of the triggers that the migrations make in SQLite, by name; a test makes them and compares.
TRIGGERS = "98f10cf6fa710931099854e6ba64b37a73f26db539e0586ce7863fc596f10836"

# The same of those in PostgreSQL: their tables, names, kinds, whether they are enabled, and what they run.
POSTGRES_TRIGGERS = "93ee32c7448846f9998618694992ef51562dc0ec148dc2eb536e2ec6993769e5"

# SHA-256 of the text of each view that the migrations make in SQLite.
VIEWS = {
    "report_attempts": "75eeadc5659e82f0995e718da8ec67d10585e8fa1872dfcfa997e440daf6cc32",
    "report_durations": "7b87fcec4e1cbf5cd8a8356b63ddac59359e5eee4ec65321a8fc4105f9cab830",
    "report_events": "f65d2c6171e14ef2cf481b77043db1b07701825032d7d369a30e97116a995911",
    "report_failures": "01abb27cdb05ceb6baef7a199853617568ec9681886a34feea4ab9f5f059e27f",
    "report_recoveries": "4062cd72cebf600ba96be4c66be5a6f6b7c60130c231f2767ff985f64eaa6c22",
    "report_resources": "8e19cf41a3e52f278ebce91ca3f4315516bc821ef6e18c1cc9116b640cbed41c",
    "report_restarts": "44b98ad105cf529a76edadb500e3772d2c981e44186603081a0e5b08be39c95f",
    "report_uptime": "6e96a1669b5522e41578d32f5e2f59300d51cae046b5431f047d1d642a44d9ea",
}

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


def replaced_views(found: Mapping[str, str]) -> list[str]:
    """The names of the views for reports that are not as the migrations made them; `found` are those of a database."""
    return [
        name for name, digest in VIEWS.items() if sha256(found.get(name, "").encode()).hexdigest() != digest
    ]


def replaced(views: Iterable[str]) -> str:
    """What is wrong where somebody has put others in the place of some views, and what to do."""
    return (
        f"somebody has replaced or removed the views {', '.join(views)}, and reports say what others made them say; "
        "run `outlive rebuild`, which puts them back"
    )
