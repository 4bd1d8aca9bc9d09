"""A figure can be trusted when every peer is measured by the same rule and leaves nothing behind."""

import contextlib
import json
import uuid
from collections.abc import Callable

import psutil
import pytest

from benchmarks.circus_peer import CircusPeer
from benchmarks.harness import Peer, compare, measure
from benchmarks.outlive_peer import OutlivePeer
from benchmarks.pm2_peer import Pm2Peer
from benchmarks.popen_peer import PopenPeer
from benchmarks.processes import SLEEPER
from benchmarks.s6_peer import S6Peer
from benchmarks.supervisor_peer import SupervisorPeer

PEERS: list[Callable[[], Peer]] = [OutlivePeer, PopenPeer, S6Peer, SupervisorPeer]
# Installed by `make bench` alone.
PEERS += [make for make in (CircusPeer, Pm2Peer) if make().unavailable() is None]
MARK = "BENCHMARK_RUN"


@pytest.fixture(params=PEERS, ids=lambda make: make.name)
def make_peer(request: pytest.FixtureRequest) -> Callable[[], Peer]:
    """One peer that this machine can run."""
    make: Callable[[], Peer] = request.param
    if reason := make().unavailable():
        pytest.skip(reason)
    return make


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """What every sleeper of this test inherits: some are not descendants of ours."""
    unique = uuid.uuid4().hex
    monkeypatch.setenv(MARK, unique)
    return unique


def _family() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _sleepers(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline() == list(SLEEPER) and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def test_a_peer_runs_and_leaves_nothing(make_peer: Callable[[], Peer], mark: str) -> None:
    """Sleepers are started, seen executing, weighed, stopped; afterwards no process of the run is left."""
    before = _family()
    run = measure(make_peer, count=3)
    assert run.start_seconds > 0
    assert run.stop_seconds > 0
    assert _sleepers(mark) == []
    assert _family() == before


def test_a_peer_that_fails_half_way_leaves_nothing(make_peer: Callable[[], Peer], mark: str) -> None:
    """After an error with sleepers running, closing the peer ends its manager and every sleeper."""
    before = _family()
    peer = make_peer()
    sleepers: list[psutil.Process] = []
    try:
        peer.open()
        peer.start(3)
        sleepers = _sleepers(mark)
        assert len(sleepers) == 3
    finally:
        peer.close()
    assert not any(process.is_running() for process in sleepers)
    assert _family() == before


def test_a_report_holds_each_run_and_the_ratios() -> None:
    """The JSON has every run, the medians, the machine, and the ratio of the baseline to itself: 1."""
    report = compare([PopenPeer], count=2, rounds=3, baseline="popen")
    document = json.loads(report.as_json())
    assert [run["peer"] for run in document["runs"]] == ["popen"] * 3
    assert document["summaries"][0]["start_ratio"] == 1
    assert document["machine"]["kernel"]
    assert "popen" in report.as_text()
