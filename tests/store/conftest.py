"""The databases that the contract of the log is tested on."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventstore.store import EventStore
from tests.support.cluster import Cluster


@dataclass
class Database:
    """A database that does not exist yet, and the stores that a test opens on it."""

    url: str
    path: Path
    opened: list[EventStore] = field(default_factory=list)

    def open(self, **options: Any) -> EventStore:
        """A store, closed when the test ends."""
        store = EventStore.open(self.url, **{"home": "home-1", "host": "host-1", **options})
        self.opened.append(store)
        return store

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.startswith("sqlite:")

    def edit(self, script: str) -> None:
        """Run statements of somebody who got around the triggers; `zeroblob` works on both."""
        if self.is_sqlite:
            with closing(sqlite3.connect(self.path)) as connection:
                triggers = connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                ).fetchall()
                connection.executescript("".join(f"DROP TRIGGER {name};" for (name,) in triggers) + script)
            return
        script = script.replace("zeroblob(32)", "decode(repeat('00', 32), 'hex')")
        with psycopg.connect(self.url, autocommit=True) as owner:
            owner.execute("SET session_replication_role = replica")
            owner.execute(script.encode())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What somebody's own connection reads."""
        if self.is_sqlite:
            with closing(sqlite3.connect(self.path)) as connection:
                return connection.execute(sql).fetchall()
        with psycopg.connect(self.url) as stranger:
            return stranger.execute(sql.encode()).fetchall()


# For what is about the file.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """One database of each kind that outlive supports; whatever a test did, its rows are what the log says."""
    if request.param == "sqlite":
        path = tmp_path / "events.db"
        yield from _closed(Database(url=f"sqlite:///{path}", path=path))
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.new_database()
    yield from _closed(Database(url=url, path=tmp_path / "none"))
    cluster.drop(url)


def _closed(database: Database) -> Iterator[Database]:
    yield database
    for store in database.opened:
        store.close()


@pytest.fixture
def store(database: Database) -> EventStore:
    """An empty log without projections."""
    return database.open()


@pytest.fixture
def ticking() -> Callable[[list[int]], Callable[[], int]]:
    """A clock that gives the listed readings, then repeats the last."""

    def make(readings: list[int]) -> Callable[[], int]:
        return lambda: readings.pop(0) if len(readings) > 1 else readings[0]

    return make
