"""What an append promises: all or nothing, in order, once, and only by the coordinator that holds the home."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from eventstore.appending import Batch
from eventstore.errors import (
    EpochFenced,
    EventIdConflict,
    InvalidRequest,
    NoDatabase,
    OutliveError,
    VersionConflict,
)
from eventstore.events import AgentRunning
from eventstore.home_events import CoordinatorStarted
from eventstore.record import COLUMNS, NewEvent
from eventstore.store import EventStore
from tests.store.conftest import Database
from tests.support.histories import BOOT, new, note


def _started(epoch: int) -> NewEvent:
    return new(CoordinatorStarted(epoch=epoch, pid=1, boot_id=BOOT, version="0.1.0"))


def _all(store: EventStore) -> list[tuple[int, str, int]]:
    return [(row.position, row.stream, row.version) for row in store.read()]


def test_what_was_appended_is_read_back(store: EventStore) -> None:
    """Every column comes back as it was given, and the event equals the one appended."""
    event = replace(new(note("naïve ☃"), at=123), causation_id=str(uuid4()))
    (row,) = store.append("x/1", [event], expected_version=0, epoch=None)
    assert list(store.read()) == [row]
    assert (row.event, row.event_id, row.occurred_at) == (event.event, event.event_id, 123)
    assert (row.actor, row.correlation_id, row.causation_id) == (
        "tests",
        event.correlation_id,
        event.causation_id,
    )
    assert (row.position, row.version, row.home, row.host, row.epoch) == (1, 1, "home-1", "host-1", 0)
    assert store.head() == (1, row.hash, row.recorded_at)


def test_the_json_of_a_row_is_the_documented_object(store: EventStore) -> None:
    """`events --json` prints these fields, times in UTC with microseconds, hashes in hex."""
    store.append(
        "x/1", [new(AgentRunning(attempt=3, evidence="ok"), at=1_000_001)], expected_version=0, epoch=None
    )
    (row,) = store.read()
    document = row.as_json()
    assert set(document) == {*COLUMNS, "id"} - {"event_id"}
    assert document["occurred_at"] == "1970-01-01T00:00:01.000001Z"
    assert document["data"] == {"attempt": 3, "evidence": "ok"}
    assert (document["attempt"], document["previous_hash"], document["hash"]) == (
        3,
        "00" * 32,
        row.hash.hex(),
    )


def test_a_batch_over_streams_is_one(store: EventStore) -> None:
    """All batches of one call are stored, in order, or none is."""
    store.append_many(
        [
            Batch(stream="x/1", events=[new(note()), new(note())], expected_version=0),
            Batch(stream="x/2", events=[new(note())], expected_version=0),
            Batch(stream="x/1", events=[new(note())], expected_version=2),
        ],
        epoch=None,
    )
    before = _all(store)
    assert before == [(1, "x/1", 1), (2, "x/1", 2), (3, "x/2", 1), (4, "x/1", 3)]
    with pytest.raises(VersionConflict):
        store.append_many(
            [
                Batch(stream="x/3", events=[new(note())], expected_version=0),
                Batch(stream="x/2", events=[new(note())], expected_version=0),
            ],
            epoch=None,
        )
    assert _all(store) == before
    assert store.verify().is_intact


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_a_stream_that_has_moved_on_is_a_conflict(store: EventStore, expected: int) -> None:
    """The expected version must be the stream's; the error says both, and nothing is stored."""
    store.append("x/1", [new(note()), new(note())], expected_version=0, epoch=None)
    with pytest.raises(VersionConflict) as caught:
        store.append("x/1", [new(note())], expected_version=expected, epoch=None)
    assert (caught.value.expected, caught.value.actual) == (expected, 2)
    assert store.head().position == 2


def test_a_retry_is_answered_with_the_rows_that_are_there(store: EventStore) -> None:
    """The same events again store nothing and give the original rows, though the version has moved on since."""
    events = [new(note("a")), new(note("b"))]
    first = store.append("x/1", events, expected_version=0, epoch=None)
    store.append("x/1", [new(note("c"))], expected_version=2, epoch=None)
    assert store.append("x/1", events, expected_version=0, epoch=None) == first
    assert store.head().position == 3


def test_the_same_id_with_other_content_is_a_conflict(store: EventStore) -> None:
    """An id stands for one event: other data, another stream, another order or half a batch are refused."""
    one, two = new(note("a")), new(note("b"))
    store.append("x/1", [one, two], expected_version=0, epoch=None)
    for stream, events in [
        ("x/1", [replace(one, event=note("other"))]),
        ("x/2", [one]),
        ("x/1", [two, one]),
        ("x/1", [two, new(note("c"))]),
    ]:
        with pytest.raises(EventIdConflict):
            store.append(stream, events, expected_version=0, epoch=None)
    assert store.head().position == 2


def test_an_old_coordinator_can_not_append(database: Database) -> None:
    """Once another has taken the home, appends of the one before are refused and store nothing."""
    old, young = database.open(), database.open()
    first = old.begin_epoch(_started, stream="home/home-1")
    old.append("x/1", [new(note())], expected_version=0, epoch=first)
    second = young.begin_epoch(_started, stream="home/home-1")
    assert (first, second) == (1, 2)
    with pytest.raises(EpochFenced) as caught:
        old.append("x/1", [new(note())], expected_version=1, epoch=first)
    assert (caught.value.epoch, caught.value.current) == (1, 2)
    young.append("x/1", [new(note())], expected_version=1, epoch=second)
    assert [(row.stream, row.epoch) for row in young.read()] == [
        ("home/home-1", 1),
        ("x/1", 1),
        ("home/home-1", 2),
        ("x/1", 2),
    ]


def test_an_old_coordinator_learns_what_it_had_stored(database: Database) -> None:
    """A retry of something that is in the log is answered even after the home was taken: it is stored, after all."""
    old, young = database.open(), database.open()
    epoch = old.begin_epoch(_started, stream="home/home-1")
    event = new(note())
    rows = old.append("x/1", [event], expected_version=0, epoch=epoch)
    young.begin_epoch(_started, stream="home/home-1")
    assert old.append("x/1", [event], expected_version=0, epoch=epoch) == rows


def test_homes_have_their_own_epochs(database: Database) -> None:
    """Two homes may share a database; taking one does not fence the other."""
    one, two = database.open(home="one"), database.open(home="two")
    assert one.begin_epoch(_started, stream="home/one") == 1
    assert two.begin_epoch(_started, stream="home/two") == 1
    one.append("x/1", [new(note())], expected_version=0, epoch=1)


def test_an_epoch_that_fails_is_not_taken(store: EventStore) -> None:
    """The epoch and its event are one: if the event cannot be made, the epoch is as it was."""

    def fail(epoch: int) -> NewEvent:
        raise ZeroDivisionError(epoch)

    with pytest.raises(ZeroDivisionError):
        store.begin_epoch(fail, stream="home/home-1")
    assert store.head().position == 0
    assert store.begin_epoch(_started, stream="home/home-1") == 1


def test_recorded_time_never_goes_back(
    database: Database, ticking: Callable[[list[int]], Callable[[], int]]
) -> None:
    """When the clock jumps back, the rows keep the last time, so that time and position have one order."""
    store = database.open(clock=ticking([100, 50, 200]))
    for version in range(3):
        store.append("x/1", [new(note())], expected_version=version, epoch=None)
    assert [row.recorded_at for row in store.read()] == [100, 100, 200]


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        ("", {}),
        ("x" * 201, {}),
        ("x\0", {}),
        ("x/1", {"event_id": "not-a-uuid"}),
        ("x/1", {"event_id": "AAAAAAAA-0000-4000-8000-000000000000"}),
        ("x/1", {"occurred_at": -1}),
        ("x/1", {"occurred_at": 2**63}),
        ("x/1", {"actor": "a\0b"}),
        ("x/1", {"correlation_id": "\ud800"}),
        ("x/1", {"causation_id": "x" * 2000}),
    ],
)
def test_what_a_database_could_not_keep_is_refused(
    store: EventStore, stream: str, change: dict[str, object]
) -> None:
    """Bad names, ids, times and texts are refused before anything is stored, as the caller's mistake."""
    with pytest.raises(InvalidRequest):
        store.append(stream, [replace(new(note()), **change)], expected_version=0, epoch=None)  # type: ignore[arg-type]
    assert store.head().position == 0


def test_one_id_twice_in_a_call_is_refused(store: EventStore) -> None:
    """Two events of one append can't share an id."""
    event = new(note())
    with pytest.raises(InvalidRequest):
        store.append("x/1", [event, event], expected_version=0, epoch=None)
    assert store.head().position == 0


def test_a_missing_database_is_made_only_when_asked(database: Database) -> None:
    """`create=False` says that nothing was recorded yet, and makes no file."""
    with pytest.raises(NoDatabase):
        database.open(create=False)
    assert not database.path.exists()


def test_errors_have_one_root(store: EventStore) -> None:
    """Whatever goes wrong on purpose can be caught as OutliveError, and its text begins with what cannot be done."""
    with pytest.raises(OutliveError, match=r"^cannot append"):
        store.append("x/1", [new(note())], expected_version=5, epoch=None)
