"""Running migrations, and putting back what they made. alembic is imported only where something has to change."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

_DROP_SQLITE = "SELECT format('DROP TRIGGER \"%w\"', name) FROM sqlite_master WHERE type = 'trigger'"
_KIND_SQLITE = "SELECT type FROM sqlite_master WHERE type IN ('view', 'table') AND name = ?"
_DROP_POSTGRES = """
    SELECT 'DROP TRIGGER ' || quote_ident(tgname) || ' ON ' || tgrelid::regclass
    FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND NOT tgisinternal"""


def migrate(connection: Connection) -> None:
    """Run the missing migrations in the connection's transaction, silently."""
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def guard(connection: Connection) -> None:
    """Put the triggers that keep the log from being changed in the place of all that are there, in the transaction.

    They are those of the migrations: what is in `SQLITE_TRIGGERS` and `POSTGRES_TRIGGERS` of each, one after the other.
    The views for reports are put back, too.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    here = ""
    if not is_sqlite:
        here = str(connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one())
    for (statement,) in connection.exec_driver_sql(_DROP_SQLITE if is_sqlite else _DROP_POSTGRES).all():
        connection.exec_driver_sql(statement)
    for module in _modules():
        for statement in getattr(module, "SQLITE_TRIGGERS" if is_sqlite else "POSTGRES_TRIGGERS"):
            if not statement.startswith("ALTER TABLE"):
                anew = statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
                connection.exec_driver_sql(anew.replace("{here}", here))
    put_back_views(connection)


def put_back_views(connection: Connection) -> None:
    """Put the views of the migrations in the place of what has their names, in the transaction; in SQLite only."""
    if connection.dialect.name != "sqlite":
        return
    for name, query in {
        name: query for module in _modules() for name, query in getattr(module, "VIEWS", {}).items()
    }.items():
        for (kind,) in connection.exec_driver_sql(_KIND_SQLITE, (name,)).all():
            connection.exec_driver_sql(f"DROP {kind} {name}")
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {query.strip()}")


def _modules() -> list[ModuleType]:
    """The migrations, the oldest first."""
    from alembic.script import ScriptDirectory

    return [script.module for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def _config() -> Config:
    from alembic.config import Config

    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    return config


def migrations_directory() -> Path:
    """Where the migrations are: inside the installed package, else beside it in a source tree."""
    installed = Path(__file__).parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "migrations"
