"""`db move-to` and `db grants`: from a file to PostgreSQL, and who may do what there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventstore.errors import StoreDamaged, StoreUnavailable
from eventstore.reader import Reader
from eventstore.store import EventStore
from manager import Manager
from manager.home import Home
from projections.agents import AgentsProjection
from projections.catchup import catch_up
from projections.checking import differences
from tests.interfaces.command_line import PROGRAM, until
from tests.support.agents import program
from tests.support.cluster import Cluster
from tests.support.histories import new, note
from tests.support.preloaded import COMMAND, preloaded
from tests.support.promises import clean_up

pytestmark = [pytest.mark.postgres, pytest.mark.damages]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home; its agents are ended afterwards."""
    path = tmp_path / "home"
    yield path
    clean_up(path)


def _outlive(home: Path, *words: str, crash: str = "") -> subprocess.CompletedProcess[str]:
    variables = {"OUTLIVE_CRASH": crash, "PATH": "/usr/bin:/bin"}
    return preloaded.run(COMMAND, ["--home", str(home), *words], env=variables, timeout=60)


def _fill(home: Path) -> int:
    """Agents that live, ended and failed with output; the position that the log has come to."""
    with Manager.open(home) as manager:
        manager.spawn(program(home, "sleep", "1000"), "lives")
        manager.spawn(program(home, "sh", "-c", "sleep 0.3; echo boom >&2; exit 7"), "fails")
        manager.wait("fails")
    return _head(f"sqlite:///{home}/events.db")


def _head(url: str) -> int:
    with closing(Reader.open(url)) as reader:
        return reader.head().position


@pytest.mark.parametrize("crash", ["", "tool.before_move:1"])
def test_a_log_is_carried_over(home: Path, url: str, crash: str) -> None:
    """All of it, whatever moment it is killed at; agents run on, and the next coordinator has them from there."""
    position = _fill(home)
    if crash:
        assert _outlive(home, "db", "move-to", url, crash=crash).returncode == -9
        assert (home / "events.db").exists()
    done = _outlive(home, "db", "move-to", url)
    assert (done.returncode, done.stdout[: len(str(position))]) == (0, str(position)), done.stderr
    with closing(Reader.open(url)) as reader:
        assert reader.verify().is_intact
        assert list(differences(reader)) == []
        assert reader.rows("SELECT count(*) FROM payloads") == [(1,)]
    assert _head(f"sqlite:///{home}/events.db.moved") == position  # all of it is in that file
    with pytest.raises(StoreDamaged, match="was moved to another database"):
        Manager.open(home)
    for command in ("ps", "doctor", "verify"):
        done = _outlive(home, command)
        assert "was moved to another database" in done.stdout + done.stderr, done
    with Manager.open(home, url) as manager:
        assert manager.recovery is not None
        assert manager.recovery.reattached == 1
        assert manager.status("fails").exit is not None
        assert manager.why("fails").verdict.cause == "exit"
        assert manager.stop("lives").state == "CANCELLED"
    assert _outlive(home, "--database-url", url, "verify").returncode == 0


def test_a_home_that_is_taken_over_to_be_moved_says_so_in_the_log_that_moves(home: Path, url: str) -> None:
    """A holder that is stopped blocks the move; it is ended, both logs tell who was, by whom, and agents run on."""
    _fill(home)
    holder = subprocess.Popen(
        [*PROGRAM, "--home", str(home), "wait", "lives"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: (Home(home).holder() or {}).get("pid") == holder.pid)
        holder.send_signal(signal.SIGSTOP)
        refused = _outlive(home, "db", "move-to", url)
        assert (refused.returncode, f"process {holder.pid}" in refused.stderr) == (7, True), refused
        done = _outlive(home, "db", "move-to", url, "--takeover")
        assert (done.returncode, f"ended process {holder.pid}" in done.stderr) == (0, True), done
        assert holder.wait(timeout=60) == -signal.SIGKILL
    finally:
        holder.kill()
        holder.wait()
    with (
        closing(Reader.open(url)) as reader,
        closing(Reader.open(f"sqlite:///{home}/events.db.moved")) as old,
    ):
        query = "SELECT position, type, actor, data FROM events ORDER BY position DESC LIMIT 2"
        (*_, stopped), (_, started, actor, data) = found = reader.rows(query)
        assert old.rows(query) == found
    assert (json.loads(stopped)["agents_left"], started) == (1, "COORDINATOR_STARTED")
    assert (json.loads(data)["taken_over_from"], actor) == (holder.pid, f"uid:{os.getuid()}/cli")
    with Manager.open(home, url) as manager:
        assert manager.status("lives").is_alive


def test_it_is_not_put_over_another_log(home: Path, url: str) -> None:
    """Nor is a log that is not whole, or one that is held, carried anywhere."""
    _fill(home)
    with EventStore.open(url, home="other", host="x") as store:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
    done = _outlive(home, "db", "move-to", url)
    assert (done.returncode, "holds another" in done.stderr) == (2, True)
    assert (_head(url), (home / "events.db").exists()) == (1, True)
    with Manager.open(home):
        assert _outlive(home, "db", "move-to", url).returncode != 0
    with open(home / "head", "r+b") as file:
        file.truncate(0)
    done = _outlive(home, "db", "move-to", url)
    assert (done.returncode, (home / "events.db").exists()) == (6, True), done.stderr


def test_roles_may_do_what_is_theirs(home: Path, cluster: Cluster, url: str) -> None:
    """The application runs agents and cannot change the log; the reader reads all of it and writes nothing."""
    EventStore.open(url, home="x", host="x", inline=[AgentsProjection()]).close()
    name = url.partition("@/")[2].partition("?")[0]
    for role in ("outlive_app", "outlive_reader"):
        cluster.run(
            f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    cluster.run(_outlive(home, "db", "grants").stdout, name)
    app, reader = cluster.url(name, user="outlive_app"), cluster.url(name, user="outlive_reader")
    with Manager.open(home, app) as manager:
        manager.spawn(program(home, "sleep", "1000"), "it")
        manager.restart("it")
        manager.spawn(program(home, "sh", "-c", "sleep 0.3; echo boom >&2; exit 7"), "fails")
        manager.wait("fails")
        assert manager.erase("fails").texts == 1
        catch_up(manager._coordinator.store)
        assert manager.stop("it").state == "CANCELLED"
    for words in (["ps", "--all"], ["why", "fails"], ["report", "failures"], ["verify"], ["at", "3", "ps"]):
        done = _outlive(home, "--database-url", reader, *words)
        assert done.returncode == 0, done.stderr
    for who, statement in [
        (app, "UPDATE events SET data = '{}'"),
        (app, "DELETE FROM events"),
        (app, "TRUNCATE events"),
        (app, "ALTER TABLE events DISABLE TRIGGER ALL"),
        (app, "INSERT INTO pruned SELECT position, hash, recorded_at FROM events LIMIT 1"),
        (app, "DELETE FROM epochs"),
        (reader, "INSERT INTO epochs VALUES ('x', 1)"),
        (reader, "DELETE FROM agents"),
    ]:
        with psycopg.connect(who) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    with (
        pytest.raises(StoreUnavailable, match="see `outlive db grants`"),
        EventStore.open(reader, home="x", host="x") as store,
    ):
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
