"""Whoever gets around the triggers is found by the chain; what the chain alone can't find is written down here too."""

import pytest

from eventstore.record import COLUMNS
from eventstore.store import EventStore
from tests.store.conftest import Database, on_sqlite
from tests.support.histories import coordinator_samples, new, samples

EDITS = {name: f"UPDATE events SET {name} = {name} || 'x' WHERE position = 5" for name in COLUMNS} | {
    "version": "UPDATE events SET version = version + 50 WHERE position = 5",
    "schema_version": "UPDATE events SET schema_version = 2 WHERE position = 5",
    "attempt": "UPDATE events SET attempt = 9 WHERE position = 5",
    "epoch": "UPDATE events SET epoch = 9 WHERE position = 5",
    "occurred_at": "UPDATE events SET occurred_at = occurred_at + 1 WHERE position = 5",
    "recorded_at": "UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 5",
    "event_id": "UPDATE events SET event_id = replace(event_id, '-', '_') WHERE position = 5",
    "causation_id": "UPDATE events SET causation_id = '' WHERE position = 5",
    "data": "UPDATE events SET data = replace(data, '1', '2') WHERE position = 5",
    "previous_hash": "UPDATE events SET previous_hash = zeroblob(32) WHERE position = 5",
    "hash": "UPDATE events SET hash = zeroblob(32) WHERE position = 5",
}
del EDITS["position"]


@pytest.fixture
def log(database: Database) -> EventStore:
    """A log of 24 events in two streams."""
    store = database.open()
    store.append("agent/1", [new(event) for event in samples()], expected_version=0, epoch=None)
    store.append("home/1", [new(event) for event in coordinator_samples()], expected_version=0, epoch=None)
    assert store.verify().is_intact
    return store


@pytest.mark.parametrize("column", EDITS)
def test_an_edit_of_any_column_is_found(database: Database, log: EventStore, column: str) -> None:
    """Whatever is changed in a row, the verification names the row and says that it was changed."""
    database.edit(EDITS[column])
    verdict = log.verify()
    assert (verdict.is_intact, verdict.position, verdict.problem) == (False, 5, "row changed")


@pytest.mark.parametrize(
    ("script", "position", "problem"),
    [
        ("DELETE FROM events WHERE position = 5", 5, "row missing"),
        ("DELETE FROM events WHERE position = 1", 1, "row missing"),
        ("DELETE FROM events WHERE stream = 'agent/1'", 1, "row missing"),
        (
            "DELETE FROM events WHERE position = 5; UPDATE events SET position = position - 1 WHERE position > 5",
            5,
            "order",
        ),
        (
            (
                "UPDATE events SET position = 99 WHERE position = 5;"
                "UPDATE events SET position = 5 WHERE position = 23;"
                "UPDATE events SET position = 23 WHERE position = 99"
            ),
            5,
            "order",
        ),
    ],
)
def test_lost_and_moved_rows_are_found(
    database: Database, log: EventStore, script: str, position: int, problem: str
) -> None:
    """Deleted rows are missing, rows that changed places are out of order."""
    database.edit(script)
    verdict = log.verify()
    assert (verdict.is_intact, verdict.position, verdict.problem) == (False, position, problem)


def test_a_part_is_verified_from_the_hash_before_it(database: Database, log: EventStore) -> None:
    """A verification from a position on ends at the first bad row, or at `until`."""
    database.edit(EDITS["actor"])
    assert log.verify(start=6).is_intact
    assert log.verify(until=4).is_intact
    assert log.verify(start=3).position == 5


def test_a_tail_that_was_cut_off_leaves_a_whole_chain(database: Database, log: EventStore) -> None:
    """The chain alone can't know how long the log was: the head must be compared with one kept elsewhere."""
    head = log.head()
    database.edit("DELETE FROM events WHERE position > 20")
    verdict = log.verify()
    assert verdict.is_intact
    assert (verdict.head_position, verdict.head_hash) != head[:2]


@on_sqlite
def test_text_that_is_no_text_is_a_finding(database: Database, log: EventStore) -> None:
    """Bytes that are not UTF-8, as a flipped bit leaves them, are reported as a changed row, not as a crash."""
    database.edit("UPDATE events SET actor = CAST(x'ff' AS TEXT) WHERE position = 5")
    assert log.verify().position == 5
