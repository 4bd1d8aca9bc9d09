"""A shim that is killed takes nothing with it: its agent runs on, its exit is known, its tree is ended after it."""

import os
import signal
from pathlib import Path

import pytest

from manager import Manager, patience, waits
from manager.process.features import features
from tests.support.agents import data, shell
from tests.support.processes import eventually


@pytest.mark.skipif(not features().pidfd_info, reason="needs PIDFD_GET_INFO (Linux 6.15)")
def test_what_an_agent_leaves_behind_without_a_shim_is_recorded_and_ended(
    manager: Manager, home: Path
) -> None:
    """The coordinator does what the lost shim would have: the exit by its own pidfd, then the rest of the tree."""
    child = home / "child"
    wait = f"while ! [ -e {home}/go ]; do sleep 0.05; done"
    spec = shell(home, f"setsid sleep 300 & echo $! > {child}; {wait}; exit 9")
    agent = manager.spawn(spec, "orphan")
    eventually(lambda: child.exists() and child.read_text().strip(), "the child runs")
    left = int(child.read_text())
    shim = data(manager, "orphan", "STARTED")[0]["process"]["shim_pid"]
    os.kill(shim, signal.SIGKILL)
    eventually(lambda: data(manager, "orphan", "REATTACHED"), "the loss is noticed")
    (home / "go").touch()
    ended = manager.wait(agent, timeout=30)
    assert ended.exit is not None
    assert (ended.state, ended.exit.code) == ("FAILED", 9)
    (reaped,) = data(manager, "orphan", "ZOMBIE_REAPED")
    assert (reaped["source"], reaped["is_tree_complete"]) == ("pidfd", False)
    assert left in reaped["leftovers"]
    eventually(lambda: not Path(f"/proc/{left}").exists(), "the child is gone")


@pytest.mark.skipif(not features().pidfd_info, reason="needs PIDFD_GET_INFO (Linux 6.15)")
def test_a_stop_was_given_up_before_the_kernel_told_how_an_orphan_ended(
    manager: Manager, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has ended and its exit is not recorded: that is no full disk, but init, which is slow to reap."""
    monkeypatch.setattr(waits, "DOUBT_SECONDS", 0.0)
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.01)
    manager.spawn(shell(home, "exec sleep 300"), "orphan")
    os.kill(data(manager, "orphan", "STARTED")[0]["process"]["shim_pid"], signal.SIGKILL)
    eventually(lambda: data(manager, "orphan", "REATTACHED"), "the loss is noticed")
    assert manager.stop("orphan").state == "CANCELLED"


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_lock_that_was_removed_hid_its_shim(home: Path, is_replaced: bool) -> None:
    """It is known by its own identity, too: it is watched on, and what it writes is believed."""
    with Manager.open(home) as manager:
        manager.spawn(shell(home, f"while ! [ -e {home}/go ]; do sleep 0.05; done; exit 9"), "it")
        lock = home / manager.status("it").directory / "lock"
    lock.unlink()
    if is_replaced:
        lock.touch(0o600)
    with Manager.open(home, announce=True) as manager:
        assert [event["via"] for event in data(manager, "it", "REATTACHED")] == ["shim"]
        (home / "go").touch()
        ended = manager.wait("it", timeout=30)
        assert ended.exit is not None
        assert ended.exit.code == 9
        assert data(manager, "it", "ZOMBIE_REAPED")[0]["source"] == "shim record"
