"""When the file, the disk or a stranger gets in the way: a clear error, nothing acknowledged, nothing lost."""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import OutliveError, StoreDamaged, StoreUnavailable
from eventstore.sqlite import SqliteBackend
from eventstore.store import EventStore
from eventstore.writelock import AGAIN_SECONDS
from tests.store.conftest import Database, on_sqlite
from tests.support.histories import new, note

pytestmark = on_sqlite

ROOT = Path(__file__).parent.parent.parent


def _append(store: EventStore, version: int) -> None:
    store.append("x/1", [new(note())], expected_version=version, epoch=None)


def test_a_deleted_database_takes_no_more_events(database: Database) -> None:
    """SQLite would go on writing into the deleted file and acknowledge; outlive refuses."""
    store = database.open()
    _append(store, 0)
    database.path.unlink()
    with pytest.raises(StoreDamaged, match="deleted"):
        _append(store, 1)
    with pytest.raises(StoreDamaged):
        list(store.read())


def test_a_replaced_database_takes_no_more_events(database: Database) -> None:
    """A copy put in place of the open file is not appended to, and the open one no more either."""
    store = database.open()
    _append(store, 0)
    copy = database.path.with_name("copy.db")
    shutil.copy(database.path, copy)
    copy.replace(database.path)
    with pytest.raises(StoreDamaged, match="replaced"):
        _append(store, 1)


def test_a_stopped_writer_is_waited_for_and_then_named(database: Database) -> None:
    """While another program holds the lock, an append waits its time and then says who; afterwards it works."""
    store = database.open()
    _append(store, 0)
    program = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True);"
        "sys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, f"{database.path}.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    impatient = SqliteBackend(database.url, wait_seconds=0.3)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=rf"process {holder.pid}\b"), impatient.write():
        pass
    assert 0.25 < time.monotonic() - began < 10
    holder.communicate("\n", timeout=30)
    _append(store, 1)
    impatient.close()


def test_each_append_waited_for_a_held_lock_anew(database: Database) -> None:
    """A command took seven waits for its appends, and told of one: those that follow one in vain take a moment."""
    store = database.open()
    backend = SqliteBackend(database.url, wait_seconds=2.0)

    def wait_seconds() -> float:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"has been held for \d+ s"), backend.write():
            pass
        return time.monotonic() - begun

    with open(f"{database.path}.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert wait_seconds() >= 2
        assert min(wait_seconds(), wait_seconds()) < 2
    with backend.write():
        pass
    with open(f"{database.path}.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert wait_seconds() >= 2
    backend.close()
    _append(store, 0)


def test_each_append_waited_for_a_strangers_transaction_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where it is SQLite that waits; once the log was written, it is waited for in full again."""
    waits = list[float]()
    connect = sqlite3.connect

    def noting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        waits.append(options["timeout"])
        made: sqlite3.Connection = connect(*arguments, **options)
        return made

    store = database.open()
    monkeypatch.setattr("eventstore.sqlite.BUSY_SECONDS", 1.0)
    backend = SqliteBackend(database.url)
    monkeypatch.setattr("eventstore.sqlite.sqlite3.connect", noting)
    with closing(connect(database.path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="locked"), backend.write():
                pass
    assert waits == [1.0, AGAIN_SECONDS, AGAIN_SECONDS]
    with backend.write() as begun:
        assert begun.connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000
    backend.close()
    _append(store, 0)


def test_a_strangers_transaction_is_a_bounded_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that writes without asking for the lock file delays an append, which then says that it is locked."""
    monkeypatch.setattr("eventstore.sqlite.BUSY_SECONDS", 0.2)
    store = database.open()
    stranger = sqlite3.connect(database.path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        _append(store, 0)
    stranger.execute("ROLLBACK")
    stranger.close()
    _append(store, 0)


def test_a_long_reader_delays_nobody(database: Database) -> None:
    """A reader that stays in its transaction keeps its view, and appends go on."""
    store = database.open()
    _append(store, 0)
    reader = sqlite3.connect(database.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
    _append(store, 1)
    assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
    reader.close()


def test_commits_are_durable_by_setting(database: Database) -> None:
    """The connection that writes has WAL and synchronous=FULL, as SQLite itself answers."""
    with database.open().write() as connection:
        answers = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
        }
    assert answers == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_noticed(database: Database, keep: float) -> None:
    """A file that was cut off is an error or a failed verification; never a log that looks whole."""
    store = database.open()
    store.append("x/1", [new(note("x" * 500)) for _ in range(300)], expected_version=0, epoch=None)
    head = store.head()
    store.close()
    database.opened.clear()
    size = database.path.stat().st_size
    os.truncate(database.path, int(size * keep) // 512 * 512)
    try:
        again = database.open()
        verdict, found = again.verify(), again.head()
    except OutliveError:
        return
    assert not verdict.is_intact or found != head


def test_a_file_of_garbage_is_no_database(database: Database) -> None:
    """Something else under that name is reported as damage and stays as it is."""
    database.path.write_bytes(b"not a database at all, but long enough to have a header" * 50)
    before = database.path.read_bytes()
    with pytest.raises(StoreDamaged):
        database.open()
    assert database.path.read_bytes() == before


def test_a_forked_child_may_not_use_the_store(database: Database) -> None:
    """A store that was open when the process forked refuses in the child; the parent's goes on."""
    store = database.open()
    _append(store, 0)
    pid = os.fork()
    if pid == 0:
        try:
            _append(store, 1)
        except StoreUnavailable:
            try:
                list(store.read())
            except StoreUnavailable:
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    _append(store, 1)
    assert store.head().position == 2


def test_a_killed_holder_of_the_lock_does_not_stay(database: Database) -> None:
    """The lock of a program that is killed is free at once."""
    store = database.open()
    program = (
        "import sys, time; from eventstore.sqlite import SqliteBackend;"
        "w = SqliteBackend(sys.argv[1]).write(); w.__enter__(); print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, database.url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate(timeout=30)
    _append(store, 0)


def test_the_lock_file_is_the_documented_one(database: Database) -> None:
    """Any program that takes `events.db.lock` with flock keeps outlive's writers out."""
    backend = SqliteBackend(database.url, wait_seconds=0.1)
    backend.prepare()
    with open(f"{database.path}.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable), backend.write():
            pass
    with backend.write():
        pass
    backend.close()
