"""Rows made anew from the log are the same rows; a check tells where live ones differ."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import events as ev
from eventstore.lifecycle import fold
from eventstore.reader import Reader
from eventstore.store import EventStore
from projections.agents import AgentsProjection
from projections.checking import check
from projections.rebuild import rebuild
from tests.store.agents import RUNNING, STARTED, agents_of, append
from tests.store.conftest import Database
from tests.support.histories import PROCESS, legal_histories, new, note, spawning


@pytest.fixture
def store(database: Database) -> EventStore:
    """A log that keeps current agents."""
    return database.open(inline=[AgentsProjection()])


def _dump(url: str) -> list[tuple[object, ...]]:
    with closing(Reader.open(url)) as reader:
        return [
            row
            for table in ("agents", "attempts")
            for row in reader.rows(f"SELECT '{table}', * FROM {table} ORDER BY 2, 3")
        ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(legal_histories(), min_size=1, max_size=4), st.integers(1, 6))
def test_made_anew_the_rows_are_the_same(histories: list[list[ev.AgentEvent]], portion: int) -> None:
    """Whatever agents live through and however it was appended, a rebuild gives the same rows."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "events.db"
        with EventStore.open(f"sqlite:///{path}", home="h", host="x", inline=[AgentsProjection()]) as store:
            store.append("home/1", [new(note())], expected_version=0, epoch=None)
            for number, history in enumerate(histories):
                named = [
                    spawning(event.attempt, name=f"n{number}")
                    if isinstance(event, ev.AgentSpawning)
                    else event
                    for event in history
                ]
                for start in range(0, len(named), portion):
                    append(store, str(number), *named[start : start + portion], after=start)
            live = _dump(f"sqlite:///{path}")
            assert check(store) == []
            rebuild(store)
            assert _dump(f"sqlite:///{path}") == live
            for number, history in enumerate(histories):
                state = fold([(event, 0) for event in history])
                row = next((row for row in agents_of(store) if row.agent_id == str(number)), None)
                assert (row and row.state) == (state and state.state)


def test_a_rebuild_repairs_and_a_check_tells(database: Database, store: EventStore) -> None:
    """Rows that somebody edited, deleted or invented are found column by column, and are right after a rebuild."""
    for number in range(4):
        append(store, f"a{number}", spawning(name=f"n{number}"), STARTED, RUNNING)
    before = _dump(database.url)
    database.edit(
        "UPDATE agents SET pid = 1 WHERE agent_id = 'a1'; DELETE FROM agents WHERE agent_id = 'a2';"
        "UPDATE attempts SET state = 'LOST' WHERE agent_id = 'a0';"
        "CREATE TEMP TABLE ghost AS SELECT * FROM attempts WHERE agent_id = 'a3';"
        "UPDATE ghost SET agent_id = 'ghost'; INSERT INTO attempts SELECT * FROM ghost"
    )
    assert check(store) == [
        ("a0", 1, "state", "LOST", "RUNNING"),
        ("a1", None, "pid", 1, PROCESS.pid),
        ("a2", None, "*", None, "present"),
        ("ghost", 1, "*", "present", None),
    ]
    assert rebuild(store) == 12
    assert check(store) == []
    assert _dump(database.url) == before


def test_an_epoch_whose_home_is_no_text_is_made_anew(tmp_path: Path) -> None:
    """One flipped bit in it: whoever read it to compare it could not, and the rebuild that mends it ended there."""
    path = tmp_path / "events.db"
    with EventStore.open(f"sqlite:///{path}", home="h", host="x") as store:
        epoch = store.begin_epoch(lambda _: new(note()), stream="home/1")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DROP TRIGGER epochs_forward")
            connection.execute("UPDATE epochs SET home = CAST(x'e8' AS TEXT)")
        rebuild(store)
        assert check(store) == []
        store.append("home/1", [new(note())], expected_version=1, epoch=epoch)


def test_a_rebuild_among_appends_loses_none(store: EventStore) -> None:
    """While rows are made anew, others append; afterwards all are there."""
    stop = threading.Event()
    appended: list[str] = []

    def work() -> None:
        while not stop.is_set():
            agent_id = str(uuid4())
            append(store, agent_id, spawning(name=agent_id), STARTED)
            appended.append(agent_id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        while len(appended) < 20:
            pass
        for _ in range(3):
            rebuild(store)
    finally:
        stop.set()
        worker.join(timeout=60)
    assert check(store) == []
    assert len(agents_of(store)) == len(appended)
