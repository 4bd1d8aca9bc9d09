"""Projections that follow the log: whenever and however they are brought up to it, their rows are the same fold."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import events as ev
from eventstore.errors import StoreUnavailable
from eventstore.reader import Reader
from eventstore.store import EventStore
from projections import catchup, rebuild
from projections.agents import AgentsProjection
from projections.catchup import catch_up
from projections.checking import check
from projections.checkpoints import FOLLOWING_VERSIONS, behind
from projections.kinds import KINDS
from projections.runs import RunsProjection
from tests.store.agents import BACKOFF, FAILED, RUNNING, STARTED, append
from tests.store.conftest import Database
from tests.support.histories import coordinator_samples, legal_histories, new, note, reaped, spawning

TABLES = ("timeline", "runs", "coordinators")
ROOT = Path(__file__).parent.parent.parent


def _dump(url: str, *, marks: bool = True) -> list[tuple[object, ...]]:
    with closing(Reader.open(url)) as reader:
        rows = [
            row for table in TABLES for row in reader.rows(f"SELECT '{table}', * FROM {table} ORDER BY 2, 3")
        ]
        if marks:
            rows += reader.rows("SELECT * FROM projections WHERE name <> 'agents' ORDER BY 1")
    return rows


def _lag(store: EventStore) -> int:
    reader = store.reader()
    try:
        return behind(reader)
    finally:
        reader.close()


def _fill(store: EventStore, agents: int) -> None:
    store.begin_epoch(lambda epoch: new(note()), stream="home/1")
    for number in range(agents):
        first, second = spawning(name=f"n{number}"), spawning(2, name=f"n{number}")
        append(store, f"a{number}", first, STARTED, RUNNING, reaped(), FAILED, BACKOFF, second)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(legal_histories(), min_size=1, max_size=4), st.integers(1, 6), st.integers(1, 9))
def test_however_it_is_caught_up_the_rows_are_the_same(
    histories: list[list[ev.AgentEvent]], portion: int, page: int
) -> None:
    """In pages of any size, after every append or at the end, by a rebuild: the same rows, and no difference found."""
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(catchup, "PAGE_EVENTS", page)
        path = Path(directory) / "events.db"
        with EventStore.open(f"sqlite:///{path}", home="h", host="x", inline=[AgentsProjection()]) as store:
            store.begin_epoch(lambda epoch: new(note()), stream="home/1")
            for number, history in enumerate(histories):
                named = [
                    spawning(event.attempt, name=f"n{number}")
                    if isinstance(event, ev.AgentSpawning)
                    else event
                    for event in history
                ]
                for start in range(0, len(named), portion):
                    append(store, str(number), *named[start : start + portion], after=start)
                    catch_up(store)
                    assert _lag(store) == 0
            store.append("home/1", [new(one) for one in coordinator_samples()], expected_version=1, epoch=1)
            assert _lag(store) >= 3
            assert check(store) == []
            assert catch_up(store) == store.head().position
            often = _dump(f"sqlite:///{path}")
            assert check(store) == []
            rebuild.rebuild(store)
            assert _dump(f"sqlite:///{path}") == often
            with store.write() as connection:
                for table in (*TABLES, "projections"):
                    connection.exec_driver_sql(f"DELETE FROM {table}")
            patch.setattr(catchup, "PAGE_EVENTS", 1000)
            catch_up(store)
            assert _dump(f"sqlite:///{path}") == often


def test_a_check_finds_what_was_edited(database: Database) -> None:
    """A row that somebody edited, deleted or invented, and a checkpoint ahead of the log, are told; a rebuild mends."""
    store = database.open(inline=[AgentsProjection()])
    _fill(store, 3)
    catch_up(store)
    before = _dump(database.url)
    database.edit(
        "UPDATE timeline SET summary = 'nothing' WHERE position = 3; DELETE FROM timeline WHERE position = 22;"
        "UPDATE runs SET outcome = 'COMPLETED' WHERE agent_id = 'a1' AND attempt = 1;"
        "UPDATE coordinators SET epoch = 9; UPDATE projections SET position = 99 WHERE name = 'runs'"
    )
    found = [(d.key, d.attempt, d.column, d.live, d.folded) for d in check(store)]
    assert found == [
        ("runs", None, "projections.position", 99, 22),
        ("3", None, "timeline.summary", "nothing", "attempt 1 started as process 4711"),
        ("22", None, "timeline.*", None, "present"),
        ("a1", 1, "runs.outcome", "COMPLETED", "FAILED"),
        ("1", None, "coordinators.*", None, "present"),
        ("9", None, "coordinators.*", "present", None),
    ]
    assert rebuild.rebuild(store, ["timeline", "coordinators"]) == 22
    assert [d.key for d in check(store)] == ["runs", "a1"]
    assert catch_up(store) == 22  # what is ahead of the log is made anew
    assert check(store) == []
    assert _dump(database.url) == before


def test_a_new_version_is_built_beside_the_old_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a projection is made anew for another release, readers see the old rows, appends go on, none is missed."""
    store = database.open(inline=[AgentsProjection()])
    _fill(store, 30)
    catch_up(store)
    old = _dump(database.url, marks=False)
    seen: list[bool] = []
    monkeypatch.setattr(rebuild, "_NEAR", 20)
    take_in = rebuild._take_in

    def and_look(*arguments: object) -> None:
        take_in(*arguments)  # type: ignore[arg-type]
        seen.append(_dump(database.url, marks=False) == old)

    monkeypatch.setattr(rebuild, "_take_in", and_look)
    monkeypatch.setattr(RunsProjection, "version", RunsProjection.version + 1)
    monkeypatch.setitem(FOLLOWING_VERSIONS, "runs", RunsProjection.version)
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
        while len(appended) < 5:
            stop.wait(0.01)
        assert _lag(store) > 200
        catch_up(store)
    finally:
        stop.set()
        worker.join(timeout=60)
    assert len(seen) > 5
    assert all(seen), "the old rows were gone before the new ones were there"
    catch_up(store)
    assert check(store) == []
    with store.write() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM runs").scalar()
    assert count == 60 + len(appended)


@pytest.mark.parametrize("what", ["catch-up", "rebuild"])
@pytest.mark.parametrize("crash", ["store.after_begin:2", "store.before_commit:3", "store.after_commit:1"])
def test_killed_half_way_it_goes_on_or_begins_anew(database: Database, what: str, crash: str) -> None:
    """kill -9 at any page leaves rows that fit their checkpoint; the next one comes to the same end."""
    store = database.open(inline=[AgentsProjection()])
    _fill(store, 200)
    command = [sys.executable, "-m", "tests.store.following", database.url, what]
    killed = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OUTLIVE_CRASH": crash}, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    assert check(store) == []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == store.head().position
    assert check(store) == []
    catalogue = ("name", "sqlite_master") if database.is_sqlite else ("relname", "pg_class")
    assert database.rows("SELECT {0} FROM {1} WHERE {0} LIKE '%building%'".format(*catalogue)) == []


def test_of_two_rebuilds_at_once_the_later_one_goes_on(database: Database) -> None:
    """The other is told; neither mixes its rows into those of the other."""
    store = database.open(inline=[AgentsProjection()])
    _fill(store, 5)
    first = rebuild._Building(KINDS["coordinators"])
    with store.write() as connection:
        first.create(connection)
    rebuild.rebuild(store)
    with store.write() as connection, pytest.raises(StoreUnavailable, match="another rebuild"):
        first.require_ours(connection)
    assert check(store) == []
