"""kill -9 at the K-th system call that changes something, in every thread of the coordinator, launchers and shims."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from manager.process import procfs
from tests.support import story
from tests.support.processes import eventually, runs
from tests.support.promises import check_promises, our_environment

# What our own processes do and the shells of the agents do not: whoever makes the K-th of a kind is killed there.
CALLS = (
    ("fdatasync,fsync", (1, 2, 3, 5)),
    ("pwrite64", (1, 3, 6, 10, 17, 25)),
    ("flock", (1, 2, 3)),
    ("mkdir,mkdirat", (1, 2)),
    ("rename,renameat,renameat2", (1, 2, 3)),
    ("sendmsg,recvmsg", (1, 2, 3)),
    ("sendto,recvfrom", (1, 2, 4)),
    ("pidfd_open", (1, 2, 5, 9)),
    ("pidfd_send_signal", (1, 2, 3)),
    ("waitid", (1, 2)),
    ("epoll_ctl", (1, 3, 6, 12)),
    ("unlink,unlinkat", (1, 2)),
)
CASES = [
    pytest.param(calls, number, marks=() if index == 1 else pytest.mark.storm)
    for calls, numbers in CALLS
    for index, number in enumerate(numbers)
]


@pytest.mark.strace
@pytest.mark.parametrize(("calls", "number"), CASES)
def test_killed_at_a_system_call(home: Path, calls: str, number: int) -> None:
    """No promise depends on where exactly we die; and several of us may die at once."""
    traced = subprocess.Popen(
        [
            *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"),
            *("-e", f"inject={calls}:signal=KILL:when={number}"),
            *(sys.executable, "-m", "tests.support.story", str(home), "single", "stop"),
        ],
        # A launcher rehearses starts of its own, which would take most of the calls that are counted.
        env={**our_environment(), "OUTLIVE_DISABLE": "rehearsal"},
        cwd=story.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        coordinator = eventually(lambda: _child_of(traced.pid), "strace has started the story")
        eventually(lambda: not runs(coordinator), "it ends", 60)
    finally:
        traced.kill()
        traced.communicate()
    check_promises(home, shims_lost=story.NAMES)


def _child_of(pid: int) -> int:
    """The traced program; strace tries ptrace out on children of its own first."""
    stats = [procfs.read_stat(child) for child in procfs.children_listed(pid) or ()]
    return next((stat.pid for stat in stats if stat is not None and stat.comm != "strace"), 0)
