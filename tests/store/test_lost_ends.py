"""A log whose end was lost while a store was open, and to which others appended since: it is longer, and another."""

from pathlib import Path

import pytest

from eventstore.errors import StoreDamaged
from eventstore.home_events import LogPruned
from eventstore.store import EventStore
from tests.store.conftest import Database
from tests.support.histories import new, note

CUT = "DELETE FROM events WHERE position > 3; UPDATE projections SET position = 3;"


def _append(store: EventStore, stream: str, *, count: int, after: int = 0) -> None:
    for version in range(after, after + count):
        store.append(stream, [new(note())], expected_version=version, epoch=None)


@pytest.fixture
def ours(database: Database, tmp_path: Path) -> EventStore:
    """A store that left the log at position 5."""
    store = database.open(head=tmp_path / "head")
    _append(store, "x/1", count=5)
    return store


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_end_that_was_lost_was_written_over_once_another_home_had_gone_on(
    database: Database, ours: EventStore, count: int
) -> None:
    """The log is shorter than it was, as long, or longer: whoever appended what is lost appends no more."""
    database.edit(CUT)
    _append(database.open(home="home-2"), "x/2", count=count)
    before = ours.head()
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="it had come to 5 and another hash"):
            _append(ours, "x/3", count=1)
    assert ours.head() == before


def test_what_others_pruned_is_not_taken_for_lost(database: Database, ours: EventStore) -> None:
    """Up to where this store left the log, and further."""
    other = database.open(home="home-2")
    for number in range(2):
        _append(other, f"x/2{number}", count=3)
        base = other.head()
        gone = LogPruned(
            position=base.position,
            hash=base.hash.hex(),
            events=base.position,
            export="log.jsonl",
            export_sha256="0" * 64,
        )
        other.prune(base, new(gone), stream="home/home-2", forget=lambda _: None)
        _append(ours, f"x/3{number}", count=1)
    assert ours.verify().is_intact
