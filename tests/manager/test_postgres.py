"""Agents whose log is in PostgreSQL: several homes on one log, and a database that is away, silent, or unclear."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from eventstore.errors import AmbiguousAgent, InvalidRequest, StoreUnavailable, UnknownAgent
from eventstore.reader import Reader
from manager import Manager
from manager.view import View
from projections.checking import differences
from tests.support.agents import data, program, types
from tests.support.cluster import Cluster
from tests.support.preloaded import COMMAND, preloaded
from tests.support.processes import eventually, runs
from tests.support.promises import clean_up
from tests.support.proxy import Proxy, proxied
from tests.support.story import MARK

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """An empty database; what a test leaves in it is a whole log, and its rows are what that says."""
    url = cluster.new_database()
    yield url
    with closing(Reader.open(url)) as reader:
        assert reader.verify().is_intact
        assert list(differences(reader)) == []
    cluster.drop(url)


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Path]]:
    """Two homes."""
    paths = [tmp_path / "one", tmp_path / "two"]
    yield paths
    for path in paths:
        clean_up(path)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Between a coordinator and the server."""
    with proxied(cluster.directory) as proxy:
        yield proxy


def test_a_life_from_start_to_end(home: Path, url: str) -> None:
    """Started, looked at, ended, restarted by another coordinator, reported: as in SQLite."""
    with Manager.open(home, url) as manager:
        manager.spawn(program(home, "sh", "-c", "exit 7", start_window_seconds=0.0), "fails")
        assert manager.wait("fails").state == "FAILED"
        manager.spawn(program(home, "sleep", "1000"), "lives")
        assert types(manager, "lives") == ["SPAWNING", "STARTED", "RUNNING"]
    with Manager.open(home, url) as manager:
        assert manager.recovery is not None
        assert manager.recovery.reattached == 1
        assert manager.status("lives").is_alive
        assert manager.stop("lives").state == "CANCELLED"
        assert manager.report("failures").total[1] == 2
        assert manager.why("fails").verdict.cause == "exit"
    assert not (home / "events.db").exists()


def test_each_home_has_its_own_agents(homes: list[Path], url: str) -> None:
    """The same name in both; each recovers, stops and ensures its own, and names the other's by its place."""
    one, two = homes
    with Manager.open(one, url) as first, Manager.open(two, url) as second:
        mine = first.spawn(program(one, "sleep", "1000"), "web")
        its = second.spawn(program(two, "sleep", "1000"), "web")
        only = second.spawn(program(two, "sleep", "1000"), "only")
        assert [status.id for status in first.statuses()] == [mine.id]
        assert first.status("web").id == mine.id
        assert first.ensure("web", program(one, "sleep", "1000")).id == mine.id
        assert first.ensure("only", program(one, "sleep", "1000")).id != only.id
        assert first.status(f"{its.home}/web").id == its.id
        for act in (
            first.stop,
            first.kill,
            first.restart,
            first.erase,
            lambda agent: first.signal(agent, 10),
        ):
            with pytest.raises(InvalidRequest, match=f"belongs to home {its.home}"):
                act(its.id)
        first.stop_all()
        assert runs(its.pid or 0)
        assert second.status("web").is_alive
        assert [event.home for event in second.events(agent="web")] == [its.home] * 3
    with Manager.open(one, url) as first:
        assert first.recovery is not None
        assert first.recovery.reattached == 0
        assert runs(its.pid or 0)


def test_who_only_looks_sees_all_hosts_and_is_asked_which(
    homes: list[Path], url: str, tmp_path: Path
) -> None:
    """Without a home of one's own every agent is shown; a name that two homes have needs its place."""
    ids = []
    for home in homes:
        with Manager.open(home, url) as manager:
            ids.append(manager.spawn(program(home, "sleep", "1000"), "web").id)
    with closing(View.open(tmp_path / "none", url)) as view:
        assert [status.id for status in view.agents()] == ids
        assert {status.is_alive for status in view.agents()} == {None}
        with pytest.raises(AmbiguousAgent, match="write it so") as caught:
            view.agent("web")
        assert {view.agent(reference).id for reference in caught.value.candidates} == set(ids)
        with pytest.raises(UnknownAgent):
            view.agent("elsewhere/web")
    with closing(View.open(homes[0], url)) as view:
        assert [status.id for status in view.agents()] == ids[:1]
        assert [status.id for status in view.agents(all_hosts=True)] == ids
        assert view.summary().total == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_database_that_is_away(home: Path, url: str, proxy: Proxy, how: str) -> None:
    """Nothing is started; agents live and are stopped all the same; what happened is appended in order afterwards."""
    with Manager.open(home, proxy.url(url)) as manager:
        kept = manager.spawn(program(home, "sleep", "1000"), "kept")
        stopped = manager.spawn(program(home, "sleep", "1000"), "stopped")
        manager.spawn(program(home, "sh", "-c", "sleep 1; exit 7"), "ends")
        proxy.state = "cut" if how == "cut" else "silent"
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            manager.spawn(program(home, "sleep", "1000"), "refused")
        assert time.monotonic() - begun < 30
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            manager.stop("stopped", wait=False)
        eventually(lambda: not runs(stopped.pid or 0), "it is stopped all the same")
        assert time.monotonic() - begun < 20
        assert runs(kept.pid or 0)
        proxy.state = "open"
        eventually(lambda: manager.status("ends").is_final, "the log is caught up", seconds=30)
        eventually(lambda: manager.status("stopped").is_final, "the log is caught up", seconds=30)
        assert data(manager, "ends", "ZOMBIE_REAPED")[0]["exit"]["code"] == 7
        assert types(manager, "stopped")[3:] == [
            "STOP_REQUESTED",
            "SIGTERM_SENT",
            "ZOMBIE_REAPED",
            "CANCELLED",
        ]
        # Its intent may have reached the log after all, before the connection was given up.
        eventually(
            lambda: all(one.is_final for one in manager.statuses(all=True) if one.name == "refused"),
            "what was refused is over",
        )
        assert manager.spawn(program(home, "sleep", "1000"), "refused").state == "RUNNING"
        manager.kill_all()


def test_an_answer_that_was_lost_after_commit(home: Path, url: str, proxy: Proxy) -> None:
    """Whatever append it was: nothing is doubled, nobody is deposed, and a start that was given up never runs."""
    with Manager.open(home, proxy.url(url)) as manager:
        it = manager.spawn(program(home, "sleep", "1000"), "it")
        for _ in range(5):
            proxy.loses = 1
            name = f"lost-{proxy.lost}"
            with suppress(StoreUnavailable):
                manager.spawn(program(home, "sleep", "1000"), name)
            proxy.loses = 1
            with suppress(StoreUnavailable):
                manager.restart("it")
            proxy.loses = 0
            eventually(lambda: _is_settled(manager), "every attempt is running or ended", seconds=30)
        assert proxy.lost >= 5
        assert manager._coordinator.supervisor.turn.deposed is None
        assert manager.status("it").is_alive
        assert manager.status("it").id == it.id
        for status in manager.statuses(all=True):
            assert status.is_alive or not (home / status.directory / "identity.json").exists()
        manager.kill_all()


def test_a_start_that_was_refused_was_stored_later_and_kept_its_name(
    home: Path, url: str, proxy: Proxy
) -> None:
    """The network keeps its message back until the coordinator has been told that the log does not have it."""
    with Manager.open(home, proxy.url(url)) as manager:
        kept = manager.spawn(program(home, "sleep", "1000"), "kept")
        proxy.holds = b"refused"
        with pytest.raises(StoreUnavailable):
            manager.spawn(program(home, "sleep", "1000"), "refused")
        assert len(proxy.held) == 1
        proxy.state = "open"
        eventually(lambda: not manager._coordinator.ledger._in_doubt, "the log is asked", seconds=30)
        proxy.deliver()
        assert [status.id for status in manager.statuses(all=True)] == [kept.id]
        assert manager.spawn(program(home, "sleep", "1000"), "refused").state == "RUNNING"
        assert types(manager, "refused") == ["SPAWNING", "STARTED", "RUNNING"]
        manager.kill_all()


def _is_settled(manager: Manager) -> bool:
    try:
        return all(status.is_alive or status.is_final for status in manager.statuses(all=True)) and not (
            manager._coordinator.ledger.has_staged
        )
    except StoreUnavailable:
        return False


def test_a_server_that_crashes_under_a_coordinator(home: Path, url: str, cluster: Cluster) -> None:
    """SIGKILL of the whole server, three times: agents do not notice, and the log goes on where it was."""
    with Manager.open(home, url) as manager:
        it = manager.spawn(program(home, "sleep", "1000"), "it")
        for number in range(3):
            name = f"ends-{number}"
            pid = manager.spawn(program(home, "sh", "-c", "sleep 0.3; exit 3"), name).pid or 0
            cluster.kill()
            try:
                eventually(partial(_is_gone, pid), "it ends meanwhile")
            finally:
                cluster.start()
            eventually(partial(_has_ended, manager, name), "the log is caught up", seconds=30)
            assert data(manager, name, "ZOMBIE_REAPED")[0]["exit"]["code"] == 3
        assert runs(it.pid or 0)
        manager.kill_all()


def _is_gone(pid: int) -> bool:
    return not runs(pid)


def _has_ended(manager: Manager, agent: str) -> bool:
    try:
        return manager.status(agent).is_final
    except StoreUnavailable:
        return False


def test_stop_by_name_while_the_server_is_down(home: Path, url: str, cluster: Cluster) -> None:
    """A coordinator that runs knows the name; where none does, it is said who would, and where the pid is."""
    with Manager.open(home, url) as manager:
        manager.spawn(program(home, "sleep", "1000"), "kept")
        stopped = manager.spawn(program(home, "sleep", "1000"), "stopped")
        cluster.stop()
        try:
            asked = outlive(home, url, "stop", "stopped")
            assert (asked.returncode, "cannot record that stopped was stopped" in asked.stderr) == (7, True)
            assert not runs(stopped.pid or 0)
        finally:
            cluster.start()
        eventually(lambda: _has_ended(manager, "stopped"), "the log is caught up", seconds=30)
        assert data(manager, "stopped", "STOP_REQUESTED")[0]["cause"] == "user"
    cluster.stop()
    try:
        asked = outlive(home, url, "stop", "kept")
        assert (asked.returncode, "no coordinator runs, which would know kept" in asked.stderr) == (7, True)
    finally:
        cluster.start()
    assert outlive(home, url, "stop", "kept").returncode == 0


def outlive(home: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on a home and its log."""
    where = ["--home", str(home), "--database-url", url]
    return preloaded.run(COMMAND, [*where, *words], env=os.environ, timeout=60)


def test_commands_without_a_coordinator(homes: list[Path], url: str) -> None:
    """`run`, `ps --all-hosts`, `stop HOST/NAME` of another home: by the URL alone."""
    one, two = homes
    for home in homes:
        done = outlive(home, url, "run", "--name", "web", "--env", f"{MARK}={home}", "--", "sleep", "1000")
        assert done.returncode == 0, done.stderr
    listed = outlive(one, url, "ps", "--all-hosts").stdout
    assert listed.count("/web") == 2
    assert outlive(one, url, "ps").stdout.count("RUNNING") == 1
    its = outlive(two, url, "ps").stdout.splitlines()[1].split("\t")[1]
    refused = outlive(one, url, "stop", its)
    assert (refused.returncode, "do it there" in refused.stderr) == (2, True)
    assert outlive(two, url, "stop", "web").returncode == 0
    assert outlive(two, url, "verify").returncode == 0
    assert outlive(one, url, "doctor").stdout.count("PostgreSQL") == 1
    assert "web" in outlive(one, url, "at", "3", "ps", "--all").stdout


def test_checkpoints_of_another_home_with_the_same_log_were_refused(homes: list[Path], url: str) -> None:
    """They are evidence about the log that both have."""
    for home in homes:
        assert outlive(home, url, "run", "--env", f"{MARK}={home}", "--", "sleep", "0.3").returncode == 0
    for home in homes:
        assert outlive(homes[0], url, "verify", "--against", str(home / "checkpoints.jsonl")).returncode == 0
