"""Current agents: never behind the log, the same when made anew, one live agent a name."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from eventstore import events as ev
from eventstore.appending import Batch
from eventstore.errors import IllegalTransition, InvalidRequest, NameInUse, VersionConflict
from eventstore.lifecycle import fold
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from projections import queries
from projections.agents import AgentsProjection
from projections.rebuild import check, rebuild
from tests.store.conftest import Database
from tests.support.histories import PROCESS, legal_histories, new, note, reaped, samples, spawning

STARTED = ev.AgentStarted(attempt=1, process=PROCESS)
RUNNING = ev.AgentRunning(attempt=1, evidence="alive")
FAILED = ev.AgentFailed(
    attempt=1, cause="exit", message="exit code 7", phase=None, errno=None, last_output=("boom",)
)
BACKOFF = ev.RestartScheduled(
    attempt=1, next_attempt=2, delay_seconds=1.0, due_at=9_000, used=1, reason="policy"
)


@pytest.fixture
def store(database: Database) -> EventStore:
    """A log that keeps current agents."""
    return database.open(inline=[AgentsProjection()])


def _append(store: EventStore, agent_id: str, *events: ev.Event, after: int = 0) -> None:
    store.append(
        f"agent/{agent_id}",
        [new(event, at=1_000 + after + at) for at, event in enumerate(events)],
        expected_version=after,
        epoch=None,
    )


def _agents(store: EventStore) -> list[queries.AgentRow]:
    reader = store.reader()
    try:
        return queries.agents(reader)
    finally:
        reader.close()


def _attempts(store: EventStore, agent_id: str) -> list[queries.AttemptRow]:
    reader = store.reader()
    try:
        return queries.attempts(reader, agent_id)
    finally:
        reader.close()


def _dump(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    rows = [
        row
        for table in ("agents", "attempts", "projections")
        for row in connection.execute(f"SELECT '{table}', * FROM {table} ORDER BY 2, 3")
    ]
    connection.close()
    return rows


def test_a_row_says_what_the_log_says(store: EventStore) -> None:
    """After an append the agent's row has its state and the facts of its attempt."""
    _append(store, "a1", spawning(), STARTED, RUNNING)
    (row,) = _agents(store)
    assert (row.agent_id, row.name, row.state, row.is_final, row.attempt) == (
        "a1",
        "builder",
        "RUNNING",
        False,
        1,
    )
    assert (row.pid, row.shim_pid, row.boot_id) == (PROCESS.pid, PROCESS.shim_pid, PROCESS.boot_id)
    assert (row.spawned_at, row.started_at, row.running_at, row.ended_at) == (1_000, 1_001, 1_002, None)
    assert (row.labels, row.command) == ({"team": "blue"}, ("sleep", "60", "naïve ☃"))
    assert (row.home, row.host, row.version, row.position) == ("home-1", "host-1", 3, 3)
    assert (row.exit_kind, row.outcome, row.cause) == (None, None, None)


def test_an_end_has_its_exit_and_its_cause(store: EventStore) -> None:
    """How it ended and why are columns; a code is no signal and neither is a guess."""
    _append(store, "a1", spawning(), STARTED, RUNNING, reaped(), FAILED)
    (row,) = _agents(store)
    assert (row.state, row.outcome, row.is_final) == ("FAILED", "FAILED", True)
    assert (row.exit_kind, row.exit_code, row.exit_signal, row.exit_reason) == ("code", 7, None, None)
    assert (row.cause, row.message) == ("exit", "exit code 7")


def test_each_attempt_keeps_its_own_row(store: EventStore) -> None:
    """A restart begins a new row and leaves the one before as it ended, even if the restart is then cancelled."""
    _append(store, "a1", spawning(), STARTED, RUNNING, reaped(), FAILED, BACKOFF, spawning(2))
    assert [(row.attempt, row.state) for row in _attempts(store, "a1")] == [(1, "FAILED"), (2, "SPAWNING")]
    _append(store, "a2", spawning(name="b"), STARTED, reaped(), FAILED, BACKOFF, ev.AgentCancelled(attempt=1))
    assert [(row.attempt, row.state, row.outcome) for row in _attempts(store, "a2")] == [
        (1, "FAILED", "FAILED")
    ]
    assert [row.state for row in _agents(store)] == ["SPAWNING", "CANCELLED"]


def test_what_the_lifecycle_forbids_is_not_stored(store: EventStore) -> None:
    """An event that can't follow is refused, and neither the log nor the rows change."""
    _append(store, "a1", spawning())
    before = _agents(store)
    with pytest.raises(IllegalTransition):
        _append(store, "a1", RUNNING, after=1)
    assert (_agents(store), store.head().position) == (before, 1)


def test_streams_that_are_no_agents_are_ignored(store: EventStore) -> None:
    """The home's own events make no agent."""
    store.append("home/1", [new(note())], expected_version=0, epoch=None)
    assert _agents(store) == []


def test_one_live_agent_a_name(store: EventStore) -> None:
    """A name that an agent has which has not ended is refused, naming the holder; free again when that one ended."""
    _append(store, "a1", spawning(), STARTED)
    with pytest.raises(NameInUse) as caught:
        _append(store, "a2", spawning())
    assert (caught.value.name, caught.value.holder) == ("builder", "a1")
    assert store.head().position == 2
    _append(store, "a1", reaped(), FAILED, after=2)
    _append(store, "a2", spawning())
    assert [row.agent_id for row in _agents(store) if not row.is_final] == ["a2"]
    with pytest.raises(NameInUse):
        _append(store, "a1", spawning(2), after=4)


def test_names_clash_within_one_append(store: EventStore) -> None:
    """Two new agents of one name in one call are refused together; giving back and taking in one call is fine."""
    batches = [Batch(stream=f"agent/a{n}", events=[new(spawning())], expected_version=0) for n in (1, 2)]
    with pytest.raises(NameInUse):
        store.append_many(batches, epoch=None)
    assert store.head().position == 0
    _append(store, "a1", spawning(), STARTED)
    store.append_many(
        [
            Batch(stream="agent/a2", events=[new(spawning())], expected_version=0),
            Batch(stream="agent/a1", events=[new(reaped()), new(FAILED)], expected_version=2),
        ],
        epoch=None,
    )
    assert {row.agent_id: row.is_final for row in _agents(store)} == {"a1": True, "a2": False}


def test_names_are_a_homes_own(database: Database) -> None:
    """Two homes in one database may each have an agent of the same name."""
    for home in ("one", "two"):
        _append(database.open(home=home, inline=[AgentsProjection()]), home, spawning())
    assert len(_agents(database.opened[0])) == 2


def test_one_of_many_that_want_a_name_gets_it(store: EventStore) -> None:
    """Threads that share a commit do not fail for each other's refusal."""
    barrier = threading.Barrier(8)
    won: list[int] = []

    def work(number: int) -> None:
        barrier.wait()
        _append(store, f"own-{number}", spawning(name=f"own-{number}"))
        try:
            _append(store, f"shared-{number}", spawning(name="shared"))
            won.append(number)
        except NameInUse:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(won) == 1
    assert len(_agents(store)) == 9


def test_rows_catch_up_with_a_log_that_went_on_without_them(database: Database) -> None:
    """A tool that appends without projections leaves them behind; opening, or the next append, brings them up."""
    keeping = database.open(inline=[AgentsProjection()])
    _append(keeping, "a1", spawning())
    _append(database.open(), "a1", STARTED, RUNNING, after=1)
    assert [row.state for row in _agents(keeping)] == ["SPAWNING"]
    _append(keeping, "a2", spawning(name="b"))
    assert [row.state for row in _agents(keeping)] == ["RUNNING", "SPAWNING"]
    _append(database.open(), "a2", STARTED, after=1)
    database.open(inline=[AgentsProjection()])
    assert [row.version for row in _agents(keeping)] == [3, 2]
    assert check(keeping) == []


class _NextRelease(AgentsProjection):
    """The same fold in a release that says it is another."""

    version = 2
    applied = 0

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Count, then as before."""
        type(self).applied += len(events)
        super().apply(connection, events)


def test_a_new_version_of_the_fold_starts_from_the_beginning(database: Database) -> None:
    """A release with another fold makes the rows anew when it opens the database."""
    _append(database.open(inline=[AgentsProjection()]), "a1", spawning(), STARTED, RUNNING)
    store = database.open(inline=[_NextRelease()])
    assert _NextRelease.applied == 3
    assert [row.state for row in _agents(store)] == ["RUNNING"]


def test_events_of_a_newer_release_are_passed_over(database: Database) -> None:
    """An unknown type in an agent's stream changes nothing but its version, and the next event fits."""
    store = database.open(inline=[AgentsProjection()])
    _append(store, "a1", spawning(), STARTED)
    _append(store, "a1", RUNNING, after=2)
    connection = sqlite3.connect(database.path)
    connection.executescript(
        "DROP TRIGGER events_no_update; UPDATE events SET type = 'DREAMING' WHERE position = 3"
    )
    connection.close()
    rebuild(store)
    _append(store, "a1", reaped(), after=3)
    (row,) = _agents(store)
    assert (row.state, row.version) == ("EXITED", 4)
    assert check(store) == []


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
                    _append(store, str(number), *named[start : start + portion], after=start)
            live = _dump(path)
            assert check(store) == []
            rebuild(store)
            assert _dump(path) == live
            for number, history in enumerate(histories):
                state = fold([(event, 0) for event in history])
                row = next((row for row in _agents(store) if row.agent_id == str(number)), None)
                assert (row and row.state) == (state and state.state)


def test_a_rebuild_repairs_and_a_check_tells(database: Database, store: EventStore) -> None:
    """Rows that somebody edited, deleted or invented are found column by column, and are right after a rebuild."""
    for number in range(4):
        _append(store, f"a{number}", spawning(name=f"n{number}"), STARTED, RUNNING)
    before = _dump(database.path)
    connection = sqlite3.connect(database.path)
    connection.executescript(
        "UPDATE agents SET pid = 1 WHERE agent_id = 'a1'; DELETE FROM agents WHERE agent_id = 'a2';"
        "UPDATE attempts SET state = 'LOST' WHERE agent_id = 'a0';"
        "CREATE TEMP TABLE ghost AS SELECT * FROM attempts WHERE agent_id = 'a3';"
        "UPDATE ghost SET agent_id = 'ghost'; INSERT INTO attempts SELECT * FROM ghost"
    )
    connection.close()
    assert check(store) == [
        ("a0", 1, "state", "LOST", "RUNNING"),
        ("a1", None, "pid", 1, PROCESS.pid),
        ("a2", None, "*", None, "present"),
        ("ghost", 1, "*", "present", None),
    ]
    assert rebuild(store) == 12
    assert check(store) == []
    assert _dump(database.path) == before


def test_a_rebuild_among_appends_loses_none(store: EventStore) -> None:
    """While rows are made anew, others append; afterwards all are there."""
    stop = threading.Event()
    appended: list[str] = []

    def work() -> None:
        while not stop.is_set():
            agent_id = str(uuid4())
            _append(store, agent_id, spawning(name=agent_id), STARTED)
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
    assert len(_agents(store)) == len(appended)


def test_many_agents_in_one_append(store: EventStore) -> None:
    """A thousand agents at once are one transaction with a thousand rows."""
    batches = [
        Batch(stream=f"agent/a{n}", events=[new(spawning(name=f"n{n}"))], expected_version=0)
        for n in range(1000)
    ]
    store.append_many(batches, epoch=None)
    assert len(_agents(store)) == 1000


def test_a_conflict_leaves_the_rows(store: EventStore) -> None:
    """Whatever is refused before the projection leaves rows and checkpoint as they were."""
    _append(store, "a1", spawning())
    with pytest.raises(VersionConflict):
        _append(store, "a1", STARTED, after=0)
    with pytest.raises(InvalidRequest):
        _append(store, "a\0", STARTED)
    assert check(store) == []


def test_every_event_type_can_be_applied() -> None:
    """The histories above are drawn from all types an agent's stream can hold."""
    assert {event.TYPE for event in samples()} == {cls.TYPE for cls in ev.AgentEvent.__args__}
