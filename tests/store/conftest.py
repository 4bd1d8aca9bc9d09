"""The databases that the contract of the log is tested on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eventstore.store import EventStore


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


@pytest.fixture(params=["sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """One database of each kind that outlive supports."""
    assert request.param == "sqlite"
    path = tmp_path / "events.db"
    database = Database(url=f"sqlite:///{path}", path=path)
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
