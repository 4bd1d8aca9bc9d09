"""A whole tree is found and ended, however its processes tried to get away."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from manager.process import procfs, tree
from manager.process.identity import agent_identity, prove, prove_child, prove_descendant, shim_identity
from manager.process.signalling import ProvenProcess, send_signal
from tests.support.processes import Attempt, Nursery, eventually, runs

# A grandchild that leaves its parent, session and group, and erases its environment.
_DAEMON = """
import os, sys, time
def daemon(name, seconds, code):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(name + ".tmp", "w").write(str(os.getpid())); os.rename(name + ".tmp", name)
            time.sleep(seconds)
            os._exit(code)
        os._exit(0)
    os.wait()
"""


def _daemon(directory: Path, rest: str, seconds: float = 100, count: int = 1) -> str:
    calls = "".join(f"daemon({str(directory / f'daemon{n}')!r}, {seconds}, 3)\n" for n in range(count))
    return _DAEMON + calls + rest


def _daemon_pid(directory: Path, number: int = 0) -> int:
    path = directory / f"daemon{number}"
    eventually(path.exists, "the daemon tells its pid")
    return int(path.read_text())


def test_what_the_main_process_leaves_behind_is_killed_and_listed(nursery: Nursery, tmp_path: Path) -> None:
    """Daemonised, double-forked grandchildren do not outlive their attempt; its exit record names the main process."""
    attempt = nursery.python(_daemon(tmp_path, "sys.exit(5)", count=3))
    assert attempt.ended()["code"] == 5
    pids = {_daemon_pid(tmp_path, number) for number in range(3)}
    assert not any(runs(pid) for pid in pids)
    sweep = attempt.files.sweep
    assert isinstance(sweep, dict)
    assert {left["pid"] for left in sweep["left"]} == pids
    assert sweep["complete"]


def test_an_attempt_until_tree_ends_with_its_last_descendant(nursery: Nursery, tmp_path: Path) -> None:
    """A program that daemonises itself is watched to the end; the first process's exit is known at once."""
    attempt = nursery.python(_daemon(tmp_path, "sys.exit(5)", seconds=1.0), until="tree")
    eventually(lambda: isinstance(attempt.files.main, dict), "the main process's exit is written")
    main = attempt.files.main
    assert isinstance(main, dict)
    assert (main["kind"], main["code"]) == ("code", 5)
    exit_ = attempt.ended()
    assert (exit_["kind"], exit_["code"], exit_["until"]) == ("code", 5, "tree")
    assert exit_["ended_boottime_ns"] > main["ended_boottime_ns"]
    assert not runs(_daemon_pid(tmp_path))


def _shim(attempt: Attempt) -> ProvenProcess:
    process = prove(shim_identity(attempt.records()[0]), shim_holds_lock=False).process
    assert process is not None
    return process


def test_killing_a_tree_takes_every_process_and_spares_the_shim(nursery: Nursery, tmp_path: Path) -> None:
    """kill_tree ends agent and escaped grandchildren; the shim lives to record the end."""
    attempt = nursery.python(_daemon(tmp_path, "time.sleep(100)", count=5))
    pids = {_daemon_pid(tmp_path, number) for number in range(5)}
    with _shim(attempt) as shim:
        assert {process.pid for process in tree.descendants(shim)} == {attempt.pid, *pids}
        result = tree.kill_tree(shim, token=attempt.token)
    assert {killed.pid for killed in result.killed} >= {attempt.pid}
    assert attempt.ended()["signal"] == signal.SIGKILL
    assert not any(runs(pid) for pid in pids)


def test_a_fork_bomb_is_gone_in_two_seconds(nursery: Nursery) -> None:
    """Processes that fork as fast as they are killed lose."""
    bomb = "import os, time\nfor n in range(40):\n    os.fork()\n    time.sleep(0.05)\n    if n > 6: time.sleep(100)"
    attempt = nursery.python(bomb)
    with _shim(attempt) as shim:
        eventually(lambda: len(tree.descendant_pids(shim.pid)) > 30, "the bomb has gone off")
        began = time.monotonic()
        result = tree.kill_tree(shim, token=attempt.token)
        assert result.killed
        attempt.ended()
        assert time.monotonic() - began < 10  # 0.2 s on an idle machine
    eventually(lambda: not list(tree.token_holders(attempt.token)), "nobody carries the token")


def test_a_tree_without_its_shim_is_found_by_the_token_and_not_called_complete(
    nursery: Nursery, tmp_path: Path
) -> None:
    """When the shim was lost its agent's processes are still found, but nobody claims that these were all."""
    attempt = nursery.python(_daemon(tmp_path, "time.sleep(100)"))
    attempt.records()
    pids = {attempt.pid, _daemon_pid(tmp_path)}
    os.kill(attempt.launched.shim_pid, signal.SIGKILL)
    eventually(lambda: not runs(attempt.launched.shim_pid), "the shim is gone")
    assert all(runs(pid) for pid in pids)
    result = tree.kill_tree(None, token=attempt.token)
    assert {killed.pid for killed in result.killed} == pids
    assert not result.complete


def test_a_process_that_is_no_descendant_is_never_proved_to_be_one(nursery: Nursery) -> None:
    """Ancestry is proved up to the root: a stranger, the root itself and a parent are refused."""
    attempt = nursery.launch(["sleep", "60"])
    with _shim(attempt) as shim:
        for stranger in (os.getpid(), 1, shim.pid):
            assert prove_descendant(shim, stranger) is None
        process = prove_descendant(shim, attempt.pid)
        assert process is not None
        process.close()


def test_a_cgroup_holds_the_tree_where_there_is_one(nursery: Nursery, tmp_path: Path) -> None:
    """With a writable cgroup every process of the attempt is in it, and it is removed with the attempt."""
    attempt = nursery.python(_daemon(tmp_path, "time.sleep(100)"), cgroup=True)
    group = attempt.records()[0]["cgroup"]
    if group is None:
        pytest.skip("needs a writable cgroup version 2 hierarchy")
    pids = {attempt.pid, _daemon_pid(tmp_path)}
    assert {process.pid for process in tree.cgroup_members(group)} == pids
    with _shim(attempt) as shim:
        assert tree.kill_tree(shim, cgroup=group).complete
    attempt.ended()
    assert not os.path.exists(group)


def test_a_cgroup_makes_a_tree_complete_without_its_shim(nursery: Nursery, tmp_path: Path) -> None:
    """When the shim was lost, the cgroup still holds every process: the tree is known to be gone."""
    attempt = nursery.python(_daemon(tmp_path, "time.sleep(100)"), cgroup=True)
    group = attempt.records()[0]["cgroup"]
    if group is None:
        pytest.skip("needs a writable cgroup version 2 hierarchy")
    pids = {attempt.pid, _daemon_pid(tmp_path)}
    os.kill(attempt.launched.shim_pid, signal.SIGKILL)
    eventually(lambda: not runs(attempt.launched.shim_pid), "the shim is gone")
    assert tree.kill_tree(None, cgroup=group).complete
    assert not any(runs(pid) for pid in pids)
    eventually(
        lambda: not os.path.exists(group) or not tree.kill_tree(None, cgroup=group).killed, "it is removed"
    )


def test_our_own_child_is_proved_and_somebody_elses_is_not() -> None:
    """prove_child vouches for an unreaped child alone; a zombie takes a signal without effect."""
    assert prove_child(os.getppid()) is None
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    with contextlib.closing(prove_child(pid)) as process:  # type: ignore[type-var]
        assert process is not None
        assert send_signal(process, signal.SIGKILL)
        eventually(lambda: process.has_ended, "the child dies")
        os.waitpid(pid, 0)
        assert not send_signal(process, signal.SIGKILL)
    assert procfs.read_stat(pid) is None


def test_the_agent_alone_gets_a_signal_sent_to_it(nursery: Nursery) -> None:
    """A proved signal reaches the main process, and its end is recorded as that signal."""
    attempt = nursery.launch(["sleep", "60"])
    proof = prove(agent_identity(attempt.records()[0]), shim_holds_lock=False)
    assert proof.process is not None
    with proof.process as process:
        assert send_signal(process, signal.SIGTERM)
    assert attempt.ended()["signal"] == signal.SIGTERM
    with pytest.raises(ValueError, match="handle is closed"):
        send_signal(process, signal.SIGTERM)
