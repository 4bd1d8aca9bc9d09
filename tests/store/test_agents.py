"""Current agents: never behind the log, the same when made anew, one live agent a name."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Connection

from eventstore import events as ev
from eventstore.appending import Batch
from eventstore.errors import IllegalTransition, InvalidRequest, NameInUse, StoreDamaged, VersionConflict
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from projections.agents import AgentsProjection
from projections.checking import check
from projections.rebuild import rebuild
from tests.store.agents import BACKOFF, FAILED, RUNNING, STARTED, agents_of, append, attempts_of
from tests.store.conftest import Database
from tests.support.histories import PROCESS, new, note, reaped, samples, spawning


@pytest.fixture
def store(database: Database) -> EventStore:
    """A log that keeps current agents."""
    return database.open(inline=[AgentsProjection()])


def test_a_row_says_what_the_log_says(store: EventStore) -> None:
    """After an append the agent's row has its state and the facts of its attempt."""
    append(store, "a1", spawning(), STARTED, RUNNING)
    (row,) = agents_of(store)
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
    append(store, "a1", spawning(), STARTED, RUNNING, reaped(), FAILED)
    (row,) = agents_of(store)
    assert (row.state, row.outcome, row.is_final) == ("FAILED", "FAILED", True)
    assert (row.exit_kind, row.exit_code, row.exit_signal, row.exit_reason) == ("code", 7, None, None)
    assert (row.cause, row.message) == ("exit", "exit code 7")


def test_each_attempt_keeps_its_own_row(store: EventStore) -> None:
    """A restart begins a new row and leaves the one before as it ended, even if the restart is then cancelled."""
    append(store, "a1", spawning(), STARTED, RUNNING, reaped(), FAILED, BACKOFF, spawning(2))
    assert [(row.attempt, row.state) for row in attempts_of(store, "a1")] == [(1, "FAILED"), (2, "SPAWNING")]
    append(store, "a2", spawning(name="b"), STARTED, reaped(), FAILED, BACKOFF, ev.AgentCancelled(attempt=1))
    assert [(row.attempt, row.state, row.outcome) for row in attempts_of(store, "a2")] == [
        (1, "FAILED", "FAILED")
    ]
    assert [row.state for row in agents_of(store)] == ["SPAWNING", "CANCELLED"]


def test_what_the_lifecycle_forbids_is_not_stored(store: EventStore) -> None:
    """An event that can't follow is refused, and neither the log nor the rows change."""
    append(store, "a1", spawning())
    before = agents_of(store)
    with pytest.raises(IllegalTransition):
        append(store, "a1", RUNNING, after=1)
    assert (agents_of(store), store.head().position) == (before, 1)


def test_streams_that_are_no_agents_are_ignored(store: EventStore) -> None:
    """The home's own events make no agent."""
    store.append("home/1", [new(note())], expected_version=0, epoch=None)
    assert agents_of(store) == []


def test_one_live_agent_a_name(store: EventStore) -> None:
    """A name that an agent has which has not ended is refused, naming the holder; free again when that one ended."""
    append(store, "a1", spawning(), STARTED)
    with pytest.raises(NameInUse) as caught:
        append(store, "a2", spawning())
    assert (caught.value.name, caught.value.holder) == ("builder", "a1")
    assert store.head().position == 2
    append(store, "a1", reaped(), FAILED, after=2)
    append(store, "a2", spawning())
    assert [row.agent_id for row in agents_of(store) if not row.is_final] == ["a2"]
    with pytest.raises(NameInUse):
        append(store, "a1", spawning(2), after=4)


def test_names_clash_within_one_append(store: EventStore) -> None:
    """Two new agents of one name in one call are refused together; giving back and taking in one call is fine."""
    batches = [Batch(stream=f"agent/a{n}", events=[new(spawning())], expected_version=0) for n in (1, 2)]
    with pytest.raises(NameInUse):
        store.append_many(batches, epoch=None)
    assert store.head().position == 0
    append(store, "a1", spawning(), STARTED)
    store.append_many(
        [
            Batch(stream="agent/a2", events=[new(spawning())], expected_version=0),
            Batch(stream="agent/a1", events=[new(reaped()), new(FAILED)], expected_version=2),
        ],
        epoch=None,
    )
    assert {row.agent_id: row.is_final for row in agents_of(store)} == {"a1": True, "a2": False}


def test_names_are_a_homes_own(database: Database) -> None:
    """Two homes in one database may each have an agent of the same name."""
    for home in ("one", "two"):
        append(database.open(home=home, inline=[AgentsProjection()]), home, spawning())
    assert len(agents_of(database.opened[0])) == 2


def test_one_of_many_that_want_a_name_gets_it(store: EventStore) -> None:
    """Threads that share a commit do not fail for each other's refusal."""
    barrier = threading.Barrier(8)
    won: list[int] = []

    def work(number: int) -> None:
        barrier.wait()
        append(store, f"own-{number}", spawning(name=f"own-{number}"))
        try:
            append(store, f"shared-{number}", spawning(name="shared"))
            won.append(number)
        except NameInUse:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(won) == 1
    assert len(agents_of(store)) == 9


def test_rows_catch_up_with_a_log_that_went_on_without_them(database: Database) -> None:
    """A tool that appends without projections leaves them behind; opening, or the next append, brings them up."""
    keeping = database.open(inline=[AgentsProjection()])
    append(keeping, "a1", spawning())
    append(database.open(), "a1", STARTED, RUNNING, after=1)
    assert [row.state for row in agents_of(keeping)] == ["SPAWNING"]
    append(keeping, "a2", spawning(name="b"))
    assert [row.state for row in agents_of(keeping)] == ["RUNNING", "SPAWNING"]
    append(database.open(), "a2", STARTED, after=1)
    database.open(inline=[AgentsProjection()])
    assert [row.version for row in agents_of(keeping)] == [3, 2]
    assert check(keeping) == []


class _NextRelease(AgentsProjection):
    """The same fold in a release that says it is another."""

    version = AgentsProjection.version + 1
    applied = 0

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Count, then as before."""
        type(self).applied += len(events)
        super().apply(connection, events)


def test_a_new_version_of_the_fold_starts_from_the_beginning(database: Database) -> None:
    """A release with another fold makes the rows anew when it opens the database."""
    append(database.open(inline=[AgentsProjection()]), "a1", spawning(), STARTED, RUNNING)
    _NextRelease.applied = 0
    store = database.open(inline=[_NextRelease()])
    assert _NextRelease.applied == 3
    assert [row.state for row in agents_of(store)] == ["RUNNING"]


class _Refusing(AgentsProjection):
    """Has no rows, and refuses RUNNING after the others have taken it in."""

    name = "refusing"

    def apply_knowing(self, connection: Connection, events: Sequence[RecordedEvent], answer: object) -> None:
        """See above."""
        if any(event.type == "RUNNING" for event in events):
            raise InvalidRequest("cannot take it in: for a test")

    def reset(self, connection: Connection) -> None:
        """Leave the others' alone."""


def test_what_was_rolled_back_is_not_remembered(database: Database) -> None:
    """Rows were made, the append failed, and another process appended something else in its place."""
    store = database.open(inline=[AgentsProjection(), _Refusing()])
    append(store, "a1", spawning(), STARTED)
    with pytest.raises(InvalidRequest):
        append(store, "a1", RUNNING, after=2)
    append(database.open(inline=[AgentsProjection(), _Refusing()]), "a1", reaped(), after=2)
    append(store, "a1", FAILED, after=3)
    assert [(row.state, row.version) for row in agents_of(store)] == [("FAILED", 4)]


def test_events_of_a_newer_release_are_passed_over(database: Database) -> None:
    """An unknown type in an agent's stream changes nothing but its version, and the next event fits."""
    store = database.open(inline=[AgentsProjection()])
    append(store, "a1", spawning(), STARTED)
    append(store, "a1", RUNNING, after=2)
    database.edit("UPDATE events SET type = 'DREAMING' WHERE position = 3")
    store = database.open(inline=[AgentsProjection()])  # the old one remembers what it appended
    rebuild(store)
    store = database.open(inline=[AgentsProjection()])
    append(store, "a1", reaped(), after=3)
    (row,) = agents_of(store)
    assert (row.state, row.version) == ("EXITED", 4)
    assert check(store) == []


def test_many_agents_in_one_append(store: EventStore) -> None:
    """A thousand agents at once are one transaction with a thousand rows."""
    batches = [
        Batch(stream=f"agent/a{n}", events=[new(spawning(name=f"n{n}"))], expected_version=0)
        for n in range(1000)
    ]
    store.append_many(batches, epoch=None)
    assert len(agents_of(store)) == 1000


def test_a_conflict_leaves_the_rows(store: EventStore) -> None:
    """Whatever is refused before the projection leaves rows and checkpoint as they were."""
    append(store, "a1", spawning())
    with pytest.raises(VersionConflict):
        append(store, "a1", STARTED, after=0)
    with pytest.raises(InvalidRequest):
        append(store, "a\0", STARTED)
    assert check(store) == []


def test_every_event_type_can_be_applied() -> None:
    """The histories above are drawn from all types an agent's stream can hold."""
    assert {event.TYPE for event in samples()} == {cls.TYPE for cls in ev.AgentEvent.__args__}


@pytest.mark.damages
@pytest.mark.parametrize("other", ["labelled", "x"])
def test_a_name_in_a_row_that_is_only_a_label_in_the_log_is_refused(database: Database, other: str) -> None:
    """The name of an agent is that of its SPAWNING event, however alike other words in it look."""
    head = database.path.with_name("head")
    inline = [AgentsProjection()]
    spawned = spawning(name='say "na\\me" ☃')
    labels = {"name": "labelled", "spec": "{", "team": ',"name":"x",'}
    store = database.open(inline=inline, head=head)
    append(store, "a1", replace(spawned, spec=replace(spawned.spec, labels=labels)), STARTED, RUNNING)
    store.close()
    database.open(inline=inline, head=head).close()
    database.edit(f"UPDATE agents SET name = '{other}'")
    with pytest.raises(StoreDamaged, match=f"name of agent/a1 is '{other}'"):
        database.open(inline=inline, head=head)


def test_rows_of_an_older_fold_stayed_until_somebody_rebuilt_them(database: Database) -> None:
    """The first release told a kill during a restart otherwise: its rows are made anew when the log is next opened."""
    append(database.open(inline=[AgentsProjection()]), "a1", spawning(), STARTED, RUNNING)
    database.edit(
        "UPDATE agents SET state = 'FAILED'; UPDATE projections SET version = 1 WHERE name = 'agents'"
    )
    assert [row.state for row in agents_of(database.open(inline=[AgentsProjection()]))] == ["RUNNING"]
