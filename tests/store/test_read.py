"""Reading by position: complete, in order, filtered, in bounded memory; following what others write."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest, NoDatabase
from eventstore.reader import MAX_STREAMS, PAGE_ROWS, Reader
from eventstore.store import EventStore
from tests.store.conftest import Database, on_sqlite
from tests.store.writers import writers
from tests.support.histories import coordinator_samples, new, note

ROOT = Path(__file__).parent.parent.parent


def _fill(store: EventStore, count: int, stream: str = "x/1") -> None:
    store.append(stream, [new(note()) for _ in range(count)], expected_version=0, epoch=None)


@pytest.mark.parametrize("count", [0, 1, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 3 * PAGE_ROWS])
def test_pages_lose_and_repeat_nothing(store: EventStore, count: int) -> None:
    """Whatever the number of events, each is read once, in order."""
    if count:
        _fill(store, count)
    assert [row.position for row in store.read()] == list(range(1, count + 1))


def test_a_range_is_open_below_and_closed_above(store: EventStore) -> None:
    """`after` is where one stopped, `until` the last one wanted, `limit` how many at most."""
    _fill(store, 10)
    assert [row.position for row in store.read(after=3, until=7)] == [4, 5, 6, 7]
    assert [row.position for row in store.read(after=3, limit=2)] == [4, 5]
    assert [row.position for row in store.read(after=10)] == []
    assert [row.position for row in store.read(limit=0)] == []


def test_filters_by_stream_and_type(store: EventStore) -> None:
    """Streams and types can be asked for, one or several; no streams give no events."""
    for number, event in enumerate(coordinator_samples()[:3] * 2):
        store.append(f"x/{number}", [new(event)], expected_version=0, epoch=None)
    assert [row.position for row in store.read(stream="x/2")] == [3]
    assert [row.position for row in store.read(streams=["x/4", "x/0"])] == [1, 5]
    assert [row.position for row in store.read(streams=[])] == []
    assert [row.position for row in store.read(types=["COORDINATOR_STOPPED"])] == [3, 6]
    assert [row.position for row in store.read(types=["COORDINATOR_STOPPED"], streams=["x/2"])] == [3]
    with pytest.raises(InvalidRequest):
        next(store.read(streams=[str(number) for number in range(MAX_STREAMS + 1)]))


@on_sqlite
def test_one_stream_is_read_by_its_index(database: Database) -> None:
    """Reading an agent's history does not walk through everybody's."""
    store = database.open()
    _fill(store, 5)
    reader = store.reader()
    plan = reader.rows(
        "EXPLAIN QUERY PLAN SELECT * FROM events WHERE position > 0 AND stream = 'x/1' ORDER BY position LIMIT 500"
    )
    reader.close()
    assert "events_stream_version" in str(plan) or "sqlite_autoindex_events" in str(plan)
    assert "SCAN" not in str(plan)


def test_a_reader_sees_what_is_committed(database: Database) -> None:
    """A reader that was opened before an append sees it afterwards."""
    store = database.open()
    reader = Reader.open(database.url)
    assert reader.head().position == 0
    _fill(store, 3)
    assert [row.position for row in reader.events()] == [1, 2, 3]
    assert reader.verify().checked == 3
    reader.close()


def test_a_snapshot_stands_still(database: Database) -> None:
    """Inside a snapshot an append of somebody else is not seen; after it, it is."""
    store = database.open()
    _fill(store, 3)
    reader = Reader.open(database.url)
    with reader.snapshot():
        _fill(store, 3, stream="x/2")
        assert reader.head().position == 3
    assert reader.head().position == 6
    reader.close()


def test_a_reader_can_not_write(database: Database) -> None:
    """The reader's connection refuses every change, whatever the SQL."""
    _fill(database.open(), 1)
    reader = Reader.open(database.url)
    with pytest.raises(Exception, match="read"):
        reader.rows("INSERT INTO projections VALUES ('x', 1, 1)")
    reader.close()


def test_no_database_yet_is_its_own_answer(database: Database) -> None:
    """Where nothing was recorded, a reader says so and makes no file."""
    with pytest.raises(NoDatabase):
        Reader.open(database.url)
    assert not database.path.exists()


def test_listing_loads_neither_sqlalchemy_nor_pydantic(database: Database) -> None:
    """A command that only reads starts quickly: the heavy packages stay out."""
    database.open()
    program = (
        "import sys; from eventstore.reader import Reader; from projections import queries;"
        f"r = Reader.open({database.url!r}); queries.agents(r); r.head(); list(r.events());"
        "print(sorted(m for m in ('sqlalchemy', 'alembic', 'pydantic', 'eventstore.events') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_following_misses_nothing_that_four_programs_write(database: Database) -> None:
    """A follower gets every event of all writers exactly once and in order, while they write."""
    store = database.open()
    seen: list[int] = []
    stop = threading.Event()

    def follow() -> None:
        for row in store.follow(stop=stop, poll_seconds=0.01):
            seen.append(row.position)
            if len(seen) == 4 * 2 * 50:
                return

    follower = threading.Thread(target=follow)
    with writers(database.url, 4, threads=2, count=50) as started:
        follower.start()
        for writer in started:
            writer.go()
        assert sum(len(writer.finish()) for writer in started) == 400
        follower.join(timeout=30)
        stop.set()
        follower.join(timeout=30)
    assert seen == list(range(1, 401))


def test_following_wakes_at_once_in_the_same_process(store: EventStore) -> None:
    """An append of this process is seen without waiting for the poll."""
    stop, seen = threading.Event(), threading.Event()

    def follow() -> None:
        for _ in store.follow(stop=stop, poll_seconds=60):
            seen.set()
            return

    follower = threading.Thread(target=follow)
    follower.start()
    _fill(store, 1)
    assert seen.wait(timeout=30)
    follower.join(timeout=30)


def test_following_ends_when_told(store: EventStore) -> None:
    """A set stop ends it within one poll, even with nothing to read."""
    stop = threading.Event()
    follower = threading.Thread(target=lambda: list(store.follow(stop=stop, poll_seconds=0.01)))
    follower.start()
    stop.set()
    follower.join(timeout=30)
    assert not follower.is_alive()
