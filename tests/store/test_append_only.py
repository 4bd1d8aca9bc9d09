"""The database itself refuses to change history, whoever asks in SQL."""

import sqlite3
from collections.abc import Iterator

import pytest

from eventstore.home_events import CoordinatorStarted
from tests.store.conftest import Database, on_sqlite
from tests.support.histories import BOOT, new, note

pytestmark = on_sqlite

COPY = (
    "SELECT 2, event_id, stream, version, type, schema_version, attempt, home, host, epoch, occurred_at, recorded_at,"
    " actor, correlation_id, causation_id, '{}', previous_hash, hash FROM events WHERE position = 2"
)


@pytest.fixture(params=["ON", "OFF"])
def raw(database: Database, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    """Somebody's own connection to a log of three events, with recursive triggers on or off."""
    store = database.open()
    store.begin_epoch(
        lambda epoch: new(CoordinatorStarted(epoch=epoch, pid=1, boot_id=BOOT, version="1")),
        stream="home/home-1",
    )
    store.append("x/1", [new(note()), new(note())], expected_version=0, epoch=1)
    before = list(store.read())
    connection = sqlite3.connect(database.path)
    connection.execute(f"PRAGMA recursive_triggers = {request.param}")
    yield connection
    connection.close()
    assert list(store.read()) == before
    assert store.verify().is_intact


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}' WHERE position = 2",
        "UPDATE events SET position = 9 WHERE position = 3",
        "UPDATE OR REPLACE events SET version = 1",
        "DELETE FROM events WHERE position = 3",
        "DELETE FROM events",
        f"INSERT OR REPLACE INTO events {COPY}",
        f"REPLACE INTO events {COPY}",
        f"INSERT OR REPLACE INTO events {COPY.replace('SELECT 2', 'SELECT 4')}",
        f"INSERT INTO events {COPY.replace('SELECT 2', 'SELECT 5').replace('event_id', 'hex(randomblob(18))')}",
        f"INSERT INTO events {COPY.replace('SELECT 2', 'SELECT NULL').replace('event_id', 'hex(randomblob(18))')}",
        f"INSERT INTO events {COPY} ON CONFLICT DO UPDATE SET data = '{{}}'",
    ],
)
def test_rows_of_the_log_can_not_be_changed(raw: sqlite3.Connection, statement: str) -> None:
    """UPDATE, DELETE and every kind of replacing INSERT are refused, whether recursive triggers are on or off."""
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|is not next"):
        raw.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO pruned VALUES (2, zeroblob(32), 0)",
        "INSERT INTO pruned SELECT position, hash, recorded_at FROM events WHERE position = 3",
        "INSERT INTO pruned SELECT position, zeroblob(32), recorded_at FROM events WHERE position = 1",
        "INSERT INTO pruned SELECT NULL, hash, recorded_at FROM events WHERE position = 1",
        "INSERT INTO pruned VALUES (9, zeroblob(32), 0)",
    ],
)
def test_only_rows_that_are_there_can_be_pruned(raw: sqlite3.Connection, statement: str) -> None:
    """And never the last one, so that a log does not become one that never was."""
    with pytest.raises(sqlite3.IntegrityError, match="not a later row"):
        raw.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE epochs SET epoch = 1",
        "UPDATE epochs SET epoch = 0",
        "UPDATE epochs SET home = 'other', epoch = 9",
        "DELETE FROM epochs",
        "INSERT OR REPLACE INTO epochs VALUES ('home-1', 1)",
    ],
)
def test_epochs_only_move_forward(raw: sqlite3.Connection, statement: str) -> None:
    """Nobody gets an old epoch accepted again by setting it back."""
    with pytest.raises(sqlite3.IntegrityError, match="forward"):
        raw.execute(statement)
