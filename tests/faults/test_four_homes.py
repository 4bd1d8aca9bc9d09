"""Four homes with agents each on one log in PostgreSQL, and what befalls one of them is no other's business."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.reader import Reader
from manager import Manager
from manager.process import procfs
from projections.checking import differences
from tests.faults.ours import NAMES
from tests.support.agents import program
from tests.support.cluster import Cluster
from tests.support.processes import eventually, runs
from tests.support.promises import clean_up
from tests.support.proxy import Proxy, proxied
from tests.support.story import ROOT
from tests.support.tally import Tally

pytestmark = pytest.mark.postgres
ROW = "15 four homes on one log: a coordinator, a launcher and a connection lost"
STARTS = """
import sys
from pathlib import Path
from manager import Manager
from tests.support.agents import program
home = Path(sys.argv[1])
with Manager.open(home, sys.argv[2]) as manager:
    manager.spawn_many([(f"a{n}", program(home, "sleep", "1000")) for n in range(int(sys.argv[3]))])
    print("up", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Path]]:
    """Four of them: killed, cut off, without its launcher, left alone."""
    paths = [tmp_path / name for name in ("killed", "cut", "launcherless", "alone")]
    yield paths
    for path in paths:
        clean_up(path)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """One home's way to the server."""
    with proxied(cluster.directory) as proxy:
        yield proxy


@pytest.mark.parametrize("scale", [(4, 3.0), pytest.param((25, 60.0), marks=pytest.mark.faults)])
def test_each_has_its_own_trouble(
    cluster: Cluster, homes: list[Path], proxy: Proxy, tally: Tally, scale: tuple[int, float]
) -> None:
    """One coordinator killed, one cut off, one launcher killed: no agent is touched, and the log is whole."""
    agents, seconds = scale  # of each home; for which one is cut off
    url = cluster.new_database()
    killed, cut, launcherless, alone = homes
    doomed = _start(killed, url, agents)
    with (
        Manager.open(cut, proxy.url(url)) as away,
        Manager.open(launcherless, url) as lame,
        Manager.open(alone, url) as calm,
    ):
        for manager, home in ((away, cut), (lame, launcherless), (calm, alone)):
            manager.spawn_many([(f"a{n}", program(home, "sleep", "1000")) for n in range(agents)])
        pids = _pids(url)
        assert len(pids) == 4 * agents
        doomed.kill()
        doomed.communicate()
        proxy.state = "cut"
        _kill_launcher(lame)
        gone = pids[_home_id(cut), "a0"]
        until = time.monotonic() + seconds
        with pytest.raises(StoreUnavailable):
            away.spawn(program(cut, "sleep", "1000"), "refused")
        with suppress(StoreUnavailable):
            away.stop("a0", wait=False)
        eventually(partial(_is_gone, gone), "who is cut off stops its agents all the same")
        for number in range(agents):
            calm.restart(f"a{number}")
            lame.spawn(program(launcherless, "sleep", "1000"), f"b{number}")
        assert lame.stop("a1").state == "CANCELLED"
        while time.monotonic() < until:
            calm.signal("a0", signal.SIGCONT)
            time.sleep(0.5)
        proxy.state = "open"
        eventually(partial(_is_settled, away), "who was cut off catches up", seconds=60)
        assert away.status("a0").state == "CANCELLED"
        assert away._coordinator.supervisor.turn.deposed is None
        with Manager.open(killed, url) as successor:
            assert successor.recovery is not None
            assert (successor.recovery.reattached, successor.recovery.lost) == (agents, 0)
        for (home_id, name), pid in pids.items():
            if home_id == _home_id(alone) or (home_id, name) in (
                (_home_id(cut), "a0"),
                (_home_id(launcherless), "a1"),
            ):
                continue
            assert runs(pid), f"{name} of {home_id}"
        with closing(Reader.open(url)) as reader:
            assert reader.verify().is_intact
            assert list(differences(reader)) == []
            assert reader.rows("SELECT count(*) FROM events WHERE type = 'REATTACHED'") >= [(agents,)]
        for manager in (away, lame, calm):
            manager.kill_all()
    tally(ROW, runs=3)
    for home in homes:
        clean_up(home)
    cluster.drop(url)


def _start(home: Path, url: str, agents: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS, str(home), url, str(agents)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def _home_id(home: Path) -> str:
    from manager import homeidentity

    return homeidentity.read(home / "home.json").id


def _pids(url: str) -> dict[tuple[str, str], int]:
    with closing(Reader.open(url)) as reader:
        rows = reader.rows("SELECT home, name, pid FROM agents WHERE is_final = 0")
    return {(home, name): pid for home, name, pid in rows}


def _is_gone(pid: int) -> bool:
    return not runs(pid)


def _is_settled(manager: Manager) -> bool:
    return not manager._coordinator.ledger.has_staged and manager._coordinator.supervisor.turn.deposed is None


def _kill_launcher(manager: Manager) -> None:
    """The parent of a shim of one of its agents."""
    query = "SELECT shim_pid FROM agents WHERE is_final = 0 AND home = ?"
    shim = manager._view.reader.rows(query, (manager._coordinator.identity.id,))[0][0]
    parent = procfs.read_stat(procfs.read_stat(shim).parent)  # type: ignore[union-attr]
    assert parent is not None
    assert parent.comm == NAMES["launcher"]
    os.kill(parent.pid, signal.SIGKILL)
