"""kill -9 of a writer anywhere in an append: what was acknowledged is there, what is there is whole."""

import signal

import pytest

from tests.store.conftest import Database
from tests.store.writers import writers

POINTS = ["before_begin", "after_begin", "before_insert", "after_insert", "before_commit", "after_commit"]


@pytest.mark.parametrize("hit", [1, 7])
@pytest.mark.parametrize("point", POINTS)
def test_kill_at_every_point_of_an_append(database: Database, point: str, hit: int) -> None:
    """Every acknowledged event is stored, at most one unacknowledged more, and the chain is whole."""
    with writers(database.url, 1, count=20, crash=f"store.{point}:{hit}") as started:
        started[0].go()
        acknowledged = started[0].finish()
        assert started[0].process.returncode == -signal.SIGKILL
    store = database.open()
    rows = list(store.read())
    assert len(acknowledged) == hit - 1
    assert [row.event_id for row in rows][: len(acknowledged)] == [event.event_id for event in acknowledged]
    assert len(rows) == hit - (point != "after_commit")
    assert store.verify().is_intact


def test_a_retry_after_a_kill_stores_once(database: Database) -> None:
    """Killed right after the commit, the writer starts again with the same ids: each event is there once."""
    with writers(database.url, 1, count=5, crash="store.after_commit:3") as started:
        started[0].go()
        started[0].finish()
    with writers(database.url, 1, count=5) as started:
        started[0].go()
        assert len(started[0].finish()) == 5
    store = database.open()
    assert [row.version for row in store.read()] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_kill_of_concurrent_writers(database: Database) -> None:
    """Three programs killed at a random instant, again and again: nothing acknowledged is lost, nothing is torn."""
    known = set()
    for _ in range(6):
        with writers(database.url, 3, threads=2) as started:
            for writer in started:
                writer.go()
            for writer in started:  # the first lines prove that it appends; then it dies at any instruction
                assert writer.process.stdout is not None
                known.add(writer.process.stdout.readline().split()[2])
                writer.process.kill()
            for writer in started:
                known |= {event.event_id for event in writer.finish()}
        store = database.open()
        rows = list(store.read())
        assert known <= {row.event_id for row in rows}
        assert store.verify().is_intact
