"""A hot standby of the log's server: read from, written to, behind, and promoted when the primary is gone."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventstore.errors import StoreDamaged, StoreUnavailable
from eventstore.reader import Reader
from eventstore.store import EventStore
from manager import Manager
from tests.faults.test_postgres_killed import Appender
from tests.manager.test_postgres import outlive
from tests.support.agents import program
from tests.support.cluster import Cluster, name_of, running_cluster, running_standby
from tests.support.histories import new, note
from tests.support.processes import eventually, runs
from tests.support.promises import clean_up
from tests.support.tally import Tally

pytestmark = pytest.mark.postgres
ROW = "15 PostgreSQL killed, cut, silent, or its answer lost, under appends"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary and its standby, which stay what they are."""
    with running_cluster() as primary, running_standby(primary) as standby:
        yield primary, standby


@pytest.fixture
def primary() -> Iterator[Cluster]:
    """A server that is going to be killed."""
    with running_cluster() as primary:
        yield primary


@pytest.fixture
def standby(primary: Cluster) -> Iterator[Cluster]:
    """The one that takes its place."""
    with running_standby(primary) as standby:
        yield standby


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home."""
    yield tmp_path / "home"
    clean_up(tmp_path / "home")


def both(primary: Cluster, standby: Cluster, url: str) -> str:
    """A database at whichever of the two takes writes; the standby is asked first."""
    return f"postgresql://owner@/{name_of(url)}?host={standby.directory},{primary.directory}"


def has_all(primary: Cluster, standby: Cluster) -> None:
    """Return once the standby has replayed what the primary has written."""
    with psycopg.connect(primary.url("postgres")) as there:
        [(written,)] = there.execute("SELECT pg_current_wal_lsn()::text").fetchall()
    behind = f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{written}', false)"

    def is_there() -> bool:
        with psycopg.connect(standby.url("postgres")) as here:
            return here.execute(behind.encode()).fetchall() == [(True,)]

    eventually(is_there, "the standby has caught up")


def append(store: EventStore, count: int = 1, stream: str = "x/1") -> None:
    """So many events."""
    for _ in range(count):
        version = len(list(store.read(stream=stream)))
        store.append(stream, [new(note())], expected_version=version, epoch=None)


def test_commands_that_read_a_standby(home: Path, pair: tuple[Cluster, Cluster]) -> None:
    """All but those that need a temporary table, which say so."""
    primary, standby = pair
    url = primary.new_database()
    with Manager.open(home, url) as manager:
        agent = manager.spawn(program(home, "sleep", "1000"), "web").id
    has_all(primary, standby)
    there = standby.url(name_of(url))
    for words in (
        ["ps"], ["ps", "--all-hosts"], ["status", "web"], ["health"], ["events", "web"], ["why", "web"], ["verify"],
        ["report", "failures"], ["sql", "SELECT 1"], ["export"], ["rebuild", "--check"], ["db", "current"],
        ["bundle", "web", "--output", str(home.parent / "bundle")], ["checkpoint"],
    ):  # fmt: skip
        done = outlive(home, there, *words)
        assert (done.returncode, "not the newest" in done.stderr) == (0, False), (words, done)
    assert agent in outlive(home, there, "ps").stdout
    checked = outlive(home, there, "doctor", "--json")
    [database] = [one for one in json.loads(checked.stdout)["checks"] if one["name"] == "database"]
    assert (checked.returncode, database["verdict"]) == (0, "warning")
    assert (
        "a standby, which takes no writes: to change anything name the server that does" in database["detail"]
    )
    assert "its standbys may be behind" in outlive(home, url, "doctor").stdout
    past = outlive(home, there, "at", "3", "ps")
    assert (past.returncode, "it is a standby" in past.stderr, past.stderr.count("\n")) == (7, True, 1), past


def test_commands_that_change_something_on_a_standby(home: Path, pair: tuple[Cluster, Cluster]) -> None:
    """One line each: what it is, and what to do; agents are stopped all the same."""
    primary, standby = pair
    url = primary.new_database()
    with Manager.open(home, url) as manager:
        pids = [manager.spawn(program(home, "sleep", "1000"), name).pid or 0 for name in ("one", "two")]
    has_all(primary, standby)
    there = standby.url(name_of(url))
    for words in (
        ["run", "--", "true"], ["signal", "one", "-s", "HUP"], ["restart", "one"], ["recover"], ["rebuild"],
        ["erase", "one"], ["prune", "--before", "2", "--export", str(home.parent / "pruned")], ["stop", "one"],
        ["kill", "two"],
    ):  # fmt: skip
        done = outlive(home, there, *words)
        assert (done.returncode, done.stderr.count("\n")) == (7, 1), (words, done)
        assert "it is a standby, or read-only, and takes no writes: name the server that does" in done.stderr
    assert not any(map(runs, pids))
    assert outlive(home, url, "recover").returncode == 0
    assert outlive(home, url, "verify").returncode == 0


def test_a_standby_that_is_behind_was_called_damaged(home: Path, pair: tuple[Cluster, Cluster]) -> None:
    """What it lacks may be still to come: that is said, and is no finding."""
    primary, standby = pair
    url = primary.new_database()
    with Manager.open(home, url):
        pass
    has_all(primary, standby)
    there = standby.url(name_of(url))
    standby.run("SELECT pg_wal_replay_pause()")
    try:
        with Manager.open(home, url):
            pass
        listed = outlive(home, there, "ps")
        assert (
            listed.returncode,
            "not the newest: the server is a standby, and behind" in listed.stderr,
        ) == (0, True)
        assert "do not trust" not in listed.stderr
        for words in (["verify"], ["rebuild", "--check"], ["checkpoint"], ["export"]):
            done = outlive(home, there, *words)
            assert (done.returncode, "the server is a standby, and behind" in done.stderr) == (7, True), done
        checked = outlive(home, there, "doctor", "--json")
        [head] = [one for one in json.loads(checked.stdout)["checks"] if one["name"] == "head"]
        assert (checked.returncode, head["verdict"]) == (0, "warning")
        assert outlive(home, both(primary, standby, url), "verify").returncode == 0
    finally:
        standby.run("SELECT pg_wal_replay_resume()")
    has_all(primary, standby)
    assert outlive(home, there, "verify").returncode == 0


def test_another_log_on_a_standby_is_damage_all_the_same(home: Path, pair: tuple[Cluster, Cluster]) -> None:
    """That a row is another one is no matter of time."""
    primary, standby = pair
    url = primary.new_database()
    with Manager.open(home, url):
        pass
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("UPDATE events SET hash = decode(repeat('00', 32), 'hex')")
    has_all(primary, standby)
    there = standby.url(name_of(url))
    assert outlive(home, there, "verify").returncode == 6
    assert "do not trust" in outlive(home, there, "ps").stderr


def test_appends_go_on_after_a_failover(
    primary: Cluster, standby: Cluster, tmp_path: Path, tally: Tally
) -> None:
    """The primary waits for the standby, and is killed under appends: what was acknowledged is there, and each once."""
    url = primary.new_database()
    primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.run("SELECT pg_reload_conf()")
    where = both(primary, standby, url)
    with EventStore.open(where, home="home-1", host="host-1", head=tmp_path / "head") as store:
        appender = Appender(store, 8_000)
        eventually(lambda: len(appender.acknowledged) > 200, "some are appended")
        primary.kill()
        assert not appender.is_over  # the rest is appended to the other one
        standby.promote()
        appender.judge()
    tally(ROW, runs=1)


def test_a_coordinator_goes_on_after_a_failover(home: Path, primary: Cluster, standby: Cluster) -> None:
    """What it saw while there was no server is appended to the one that took over."""
    url = primary.new_database()
    where = both(primary, standby, url)
    with Manager.open(home, where) as manager:
        ends = manager.spawn(program(home, "sh", "-c", "sleep 2; exit 3"), "ends").pid or 0
        has_all(primary, standby)
        primary.kill()
        eventually(lambda: not runs(ends), "it ends meanwhile")
        asked = outlive(home, where, "ps")
        assert (asked.returncode, "takes no writes" in asked.stderr) == (7, True), asked
        standby.promote()
        eventually(lambda: _code(manager, "ends") == 3, "it is recorded")
        assert manager.spawn(program(home, "sleep", "1000"), "more").is_alive
        manager.kill_all()
    checked = outlive(home, where, "verify")
    assert (checked.returncode, checked.stdout.startswith("intact")) == (0, True), checked


def _code(manager: Manager, name: str) -> int | None:
    try:
        exit_ = manager.status(name).exit
    except StoreUnavailable:  # the other server is not there yet
        return None
    return None if exit_ is None else exit_.code


def lose_the_end(primary: Cluster, standby: Cluster, store: EventStore) -> None:
    """Append what the standby does not get, before it takes over."""
    append(store, 3)
    has_all(primary, standby)
    standby.stop(how=signal.SIGINT)
    append(store, 2)
    primary.kill()
    standby.start()
    standby.promote()


def until_it_answers(store: EventStore) -> BaseException | None:
    """What an append comes to once a server is there."""
    said: list[BaseException | None] = []

    def is_answered() -> bool:
        try:
            append(store)
        except StoreUnavailable:
            return False
        except StoreDamaged as error:
            said.append(error)
        else:
            said.append(None)
        return True

    eventually(is_answered, "it is answered")
    return said[-1]


def test_an_end_that_the_standby_never_got_is_noticed(
    primary: Cluster, standby: Cluster, tmp_path: Path
) -> None:
    """By the store that is open, which appends nothing, and by whoever opens it next with the same home."""
    where = both(primary, standby, primary.new_database())
    head = tmp_path / "head"
    with EventStore.open(where, home="home-1", host="host-1", head=head) as store:
        lose_the_end(primary, standby, store)
        assert "it had come to 5" in str(until_it_answers(store))
        assert store.head().position == 3
    with pytest.raises(StoreDamaged, match=r"from position 4 on .*tail missing"):
        EventStore.open(where, home="home-1", host="host-1", head=head)
    with closing(Reader.open(where)) as reader:
        assert reader.verify().is_intact


def test_a_lost_end_was_written_over_once_another_home_had_gone_on(
    primary: Cluster, standby: Cluster, tmp_path: Path
) -> None:
    """The log is longer by then than the home left it, and another one."""
    where = both(primary, standby, primary.new_database())
    head = tmp_path / "head"
    with EventStore.open(where, home="home-1", host="host-1", head=head) as store:
        lose_the_end(primary, standby, store)
        with EventStore.open(where, home="home-2", host="host-2") as other:
            append(other, 4, stream="x/2")
        assert "another server took over" in str(until_it_answers(store))
        assert store.head().position == 7
    with pytest.raises(StoreDamaged, match=r"from position 5 on .*another log"):
        EventStore.open(where, home="home-1", host="host-1", head=head)
