"""Homes as release 0.1 left them: one that it made, and any of today's with its log in that release's schema."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from eventstore.migrating import migrations_directory

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "home-0.1"
REVISION = "0001"
_BESIDE = ("-wal", "-shm", "-journal")


def golden_home(home: Path) -> None:
    """A home that release 0.1 made: agents with every outcome but LOST, two coordinators, the first of them killed."""
    home.mkdir(mode=0o700)
    for name in ("home.json", "head"):
        shutil.copy(GOLDEN / name, home / name)
        (home / name).chmod(0o600)
    with closing(_database(home / "events.db")) as database:
        database.executescript((GOLDEN / "events.sql").read_text(encoding="utf-8"))


def as_of_release_0_1(home: Path) -> None:
    """Put the rows of the home's log into a database of the first schema, in its place. Nobody may have it open."""
    path, new = home / "events.db", home / "events.db.new"
    _database(new).close()
    engine = create_engine(f"sqlite:///{new}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations_directory()))
        config.attributes["connection"] = connection
        command.upgrade(config, REVISION)
    engine.dispose()
    with closing(_database(new)) as database:
        database.execute("ATTACH ? AS today", (str(path),))
        tables = [
            row[0] for row in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            if table != "alembic_version":
                columns = ", ".join(row[1] for row in database.execute(f"PRAGMA main.table_info({table})"))
                known = " WHERE name = 'agents'" if table == "projections" else ""
                database.execute(
                    f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}{known} ORDER BY 1"
                )
    for ending in _BESIDE:
        home.joinpath(f"events.db{ending}").unlink(missing_ok=True)
    new.rename(path)


def revision(home: Path) -> str:
    """The schema that the home's log has."""
    with closing(sqlite3.connect(home / "events.db")) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def schema(home: Path) -> set[str]:
    """The statements that made its tables, indexes and triggers."""
    with closing(sqlite3.connect(home / "events.db")) as database:
        return {row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def rows(home: Path) -> list[tuple[Any, ...]]:
    """All events, each column of them."""
    with closing(sqlite3.connect(home / "events.db")) as database:
        return database.execute("SELECT * FROM events ORDER BY position").fetchall()


def _database(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    return database
