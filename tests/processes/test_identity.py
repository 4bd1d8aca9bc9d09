"""A process is signalled only when it is certainly the one that was recorded."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from manager.process import identity, procfs
from manager.process.features import detect, features
from manager.process.identity import (
    Identity,
    Match,
    identify,
    open_pidfd,
    prove,
    prove_child,
    prove_descendant,
    prove_self,
    prove_session_member,
    prove_token,
)
from manager.process.signalling import exit_info
from tests.support.processes import Nursery, eventually, runs


def _own() -> Identity:
    identity = identify(os.getpid())
    assert identity is not None
    return identity


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({}, Match.SAME),
        ({"boot_id": "00000000-0000-0000-0000-000000000000"}, Match.DIFFERENT),  # another boot
        ({"pid_namespace": 1}, Match.DIFFERENT),  # another container
        ({"pid": 2**22 + 1}, Match.DIFFERENT),  # no such pid can exist
    ],
)
def test_what_makes_a_process_another_one(change: dict[str, Any], match: Match) -> None:
    """Another boot or pid namespace, or no such process, is DIFFERENT and gives no handle."""
    proof = prove(_own()._replace(**change), shim_holds_lock=True)
    assert proof.match is match
    assert (proof.process is None) == (match is not Match.SAME)
    if proof.process is not None:
        proof.process.close()


def test_another_inode_of_the_pidfd_is_another_process() -> None:
    """The pidfd's inode decides, even if pid and start time are the same and the lock is held."""
    if not features().pidfs:
        pytest.skip("needs pidfs (Linux 6.9)")
    own = _own()
    assert own.pidfd_inode is not None
    assert prove(own._replace(pidfd_inode=own.pidfd_inode + 1), shim_holds_lock=True).match is Match.DIFFERENT


def test_without_inode_only_the_shims_lock_makes_it_certain() -> None:
    """Same pid and start time alone are UNCERTAIN; a held lock vouches, asked after the handle was opened."""
    own = _own()._replace(pidfd_inode=None)
    assert prove(own, shim_holds_lock=False).match is Match.UNCERTAIN
    proof = prove(own, shim_holds_lock=lambda: True)
    assert proof.match is Match.SAME
    assert proof.process is not None
    proof.process.close()
    assert prove(own._replace(start_ticks=own.start_ticks - 1), shim_holds_lock=True).match is Match.DIFFERENT


def test_a_zombie_is_still_the_same_process() -> None:
    """An ended, not yet collected process is recognised."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    try:
        identity = identify(pid)
        assert identity is not None
        eventually(lambda: not runs(pid), "the child ends")
        proof = prove(identity, shim_holds_lock=True)
        assert proof.match is Match.SAME
        assert proof.process is not None
        with proof.process as process:
            assert process.has_ended
            assert exit_info(process) is None, "not reaped yet: the kernel's zero would be a lie"
    finally:
        os.waitpid(pid, 0)


def test_the_exit_status_survives_the_shim(nursery: Nursery) -> None:
    """Whoever held the agent's pidfd reads its exact status though its shim was killed."""
    if not features().pidfd_info:
        pytest.skip("needs PIDFD_GET_INFO (Linux 6.13)")
    attempt = nursery.launch(["sh", "-c", "sleep 0.5; exit 37"])
    attempt.records()
    pidfd = open_pidfd(attempt.pid)
    assert pidfd is not None
    try:
        assert exit_info(pidfd) is None
        os.kill(attempt.launched.shim_pid, signal.SIGKILL)
        status = eventually(lambda: exit_info(pidfd), "whoever adopted the agent reaps it")
        assert os.waitstatus_to_exitcode(status or 0) == 37
    finally:
        os.close(pidfd)
    assert not isinstance(attempt.files.exit, dict)


def test_a_stopped_process_is_not_ended() -> None:
    """SIGSTOP is no end."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    try:
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: (stat := procfs.read_stat(pid)) is not None and stat.state == "T", "it stops")
        proof = prove(identify(pid) or _own(), shim_holds_lock=True)
        assert proof.process is not None
        with proof.process as process:
            assert not process.has_ended
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


_REUSE = """
import os, signal, sys
sys.path.append({root!r})
from manager.process.identity import Match, identify, prove
from manager.process.signalling import send_signal
same_tick = certain = wrong = 0
for round in range(150):
    open("/proc/sys/kernel/ns_last_pid", "w").write("499")
    first = os.fork()
    if first == 0:
        os._exit(0)
    recorded = identify(first)
    os.waitpid(first, 0)
    open("/proc/sys/kernel/ns_last_pid", "w").write("499")
    canary = os.fork()
    if canary == 0:
        signal.pause()
        os._exit(0)
    assert canary == first, (canary, first)
    same_tick += identify(canary).start_ticks == recorded.start_ticks
    for lock in (False,) if recorded.pidfd_inode is None else (False, True):
        proof = prove(recorded, shim_holds_lock=lock)
        if proof.process is not None:
            send_signal(proof.process, signal.SIGUSR1)
            proof.process.close()
    certain += proof.match is Match.SAME
    ended, status = os.waitpid(canary, os.WNOHANG)
    wrong += ended != 0
    if not ended:
        os.kill(canary, 9)
        os.waitpid(canary, 0)
print(same_tick, certain, wrong)
"""


@pytest.mark.root
@pytest.mark.parametrize("disabled", ["", "pidfs"])
def test_a_reused_pid_never_gets_the_signal(disabled: str) -> None:
    """With PIDs reused on purpose, mostly in the same clock tick, the new process is never taken for the old one."""
    program = _REUSE.format(root=str(Path(__file__).resolve().parents[2]))
    command = ["unshare", "-fp", "--mount-proc", "--kill-child", sys.executable, "-I", "-c", program]
    environment = {**os.environ, "OUTLIVE_DISABLE": disabled}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100, check=False)
    if done.returncode != 0 and "unshare" in done.stderr:
        pytest.skip(f"needs a pid namespace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    same_tick, certain, wrong = map(int, done.stdout.split())
    assert (certain, wrong) == (0, 0)
    assert same_tick > 0, "the test must have met what it is about"


def test_features_can_be_switched_off() -> None:
    """OUTLIVE_DISABLE's names switch features off; what depends on a feature goes with it."""
    off = detect(frozenset({"pidfd", "subreaper", "cgroup", "proc_children"}))
    assert not any(off)
    assert not detect(frozenset({"pidfs"})).pidfs


def test_a_number_that_a_thread_had_taken_kept_an_agent_from_its_end() -> None:
    """No process has it, by whatever error the kernel says so."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        assert open_pidfd(thread.native_id) is None
    finally:
        over.set()
        thread.join()


def test_a_process_that_is_not_proved_leaves_no_descriptor() -> None:
    """A coordinator looks at thousands, for months."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        here, its = identify(os.getpid()), identify(child.pid)
        assert here is not None
        assert its is not None
        root = prove(its, shim_holds_lock=True).process
        assert root is not None
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            assert prove_descendant(root, here.pid) is None
            assert prove_token("of no agent", here.pid) is None
            assert prove_session_member(child.pid, here.pid) is None
            assert identify(child.pid) == its
            stranger = here._replace(pidfd_inode=1, start_ticks=1)
            assert prove(stranger, shim_holds_lock=False).process is None
        assert os.listdir("/proc/self/fd") == before
        root.close()
        child.kill()


def test_a_process_that_ends_between_two_looks_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """There when its handle was opened, gone when it is looked at: no process, by every way to ask."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        its, own = identify(child.pid), prove_self()
        assert its is not None
        before = os.listdir("/proc/self/fd")
        monkeypatch.setattr(procfs, "read_stat", lambda pid: None)
        assert prove(its, shim_holds_lock=True).match is Match.DIFFERENT
        assert prove_child(child.pid) is None
        assert prove_descendant(own, child.pid) is None
        assert prove_token("", child.pid) is None
        assert prove_session_member(child.pid, child.pid) is None
        with pytest.raises(OSError, match="not mounted"):
            prove_self()
        assert os.listdir("/proc/self/fd") == before
        own.close()
        child.kill()


def test_without_pidfds_a_number_with_another_start_time_is_no_process() -> None:
    """psutil's handle is of whoever has the number now: it must be the one whose start time is known."""
    own = identity.identify(os.getpid())
    assert own is not None
    assert identity._psutil_process(own.pid, own.start_ticks).pid == own.pid
    assert identity._psutil_process(own.pid, None).pid == own.pid
    assert identity._psutil_process(own.pid, own.start_ticks + 1) is None


def test_a_member_of_a_session_is_found_by_it() -> None:
    """Whoever is in the leader's, and nobody else."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        found = prove_session_member(child.pid, child.pid)
        assert found is not None
        assert found.pid == child.pid
        found.close()
        assert prove_session_member(os.getsid(0), child.pid) is None
        child.kill()


@pytest.mark.parametrize(
    ("readings", "found"), [("aa", "a"), ("abb", "b"), ("abcdd", "d"), ("abcdefgh", None)]
)
def test_an_ancestry_counts_once_it_has_come_to_rest(
    readings: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readings in a row that are equal; what never is, is no proof."""
    told = iter([(pid, 1)] for pid in map(ord, readings))
    monkeypatch.setattr(identity, "_ancestry", lambda pid, root: next(told))
    assert identity._steady_ancestry(1, 2) == (None if found is None else [(ord(found), 1)])
