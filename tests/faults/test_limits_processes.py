"""No process, thread or memory to be had: a start fails with its reason and leaves nothing half done, and it passes."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.ours import marked, ours
from tests.faults.run import Run
from tests.faults.sweeps import sweep
from tests.support.groups import Group, group
from tests.support.others import Other
from tests.support.preloaded import ROOT
from tests.support.processes import eventually
from tests.support.tally import Tally

pytestmark = pytest.mark.root
REASONS = "thread can be started|Resource temporarily unavailable|can't fork"


@pytest.fixture
def pids() -> Iterator[Group]:
    """A group whose number of processes can be limited."""
    with group("pids") as made:
        yield made


@pytest.mark.parametrize("most", sweep((2, 5, 6), range(1, 12)))
def test_a_command_among_too_many_processes_starts_an_agent_or_says_why_not(
    tmp_path: Path, tally: Tally, pids: Group, most: int
) -> None:
    """With each number of processes and threads allowed: one line that says so in time, or an agent that runs."""
    with Run.create(tmp_path, seed=most) as run:
        pids["pids.max"] = most
        command = [sys.executable, "-m", "manager.cli.main", "--home", str(run.home), "run", "--name", "it"]
        run.asked_by_command("run", "--name", "it")
        done = subprocess.run(
            [*pids.within, *command, "--", *run.program("--exit-after", "0.3")],
            env=run.variables(run.environment()),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            assert re.search(f"^outlive: cannot .*({REASONS})", done.stderr, re.MULTILINE), done.stderr
        assert run.outlive("run", "--name", "next", "--", *run.program("--exit-after", "0.1")).returncode == 0
        run.judge()
        tally("17 fork refused")


def test_a_launcher_that_cannot_fork_says_so_and_recovers(tmp_path: Path, tally: Tally, pids: Group) -> None:
    """No process for the shim, for the agent, or enough for both: failed with EAGAIN, or running; then all works."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator(variables=marked(run)) as coordinator:
            coordinator.spawn(run.agent("--beat"))
            [launcher] = ours(run, "launcher")
            pids.add(launcher)
            for room in (0, 1, 2, 0, 1):
                eventually(lambda: pids.pids == [launcher], "earlier agents have ended")
                pids["pids.max"] = 1 + room
                coordinator.spawn(run.agent("--exit-after", "0.2"))
            pids["pids.max"] = "max"
            coordinator.spawn(run.agent("--exit-after", "0.2"))
        run.judge()
        assert _errnos_of_failures(run) == [errno.EAGAIN] * 4
        tally("17 fork refused", runs=5)


@pytest.mark.parametrize("most", sweep((3, 6), range(1, 11)))
def test_a_user_with_too_many_processes_is_told_so(tally: Tally, most: int) -> None:
    """RLIMIT_NPROC, which only others than root have: an agent that runs, or one line with the reason."""
    with Other.create() as other:
        before = ["prlimit", f"--nproc={most}:{most}"]
        done = other.outlive("run", "--name", "it", "--", "sleep", "100", before=before)
        if done.returncode != 0:
            assert re.search(f"^outlive: cannot .*({REASONS})", done.stderr, re.MULTILINE), done.stderr
        else:
            assert other.outlive("kill", "it").returncode == 0
        assert other.outlive("run", "--name", "next", "--", "sleep", "100").returncode == 0
        assert other.outlive("kill", "next").returncode == 0
        assert other.outlive("verify").returncode == 0
    tally("17 fork refused")


CALLS = (
    "clone,clone3,fork,vfork",
    "pipe2",
    "mkdir",
    "rename",
    "flock",
    "setsid",
    "execve",
    "dup2",
    "pidfd_open",
)


@pytest.mark.strace
@pytest.mark.parametrize("calls", sweep(("clone,clone3,fork,vfork", "execve"), CALLS))
def test_a_system_call_that_lacks_memory_is_a_failed_start(tmp_path: Path, tally: Tally, calls: str) -> None:
    """ENOMEM for the first such call of each process below the launcher: failed with it, or running; then all works."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator(variables=marked(run)) as coordinator:
            coordinator.spawn(run.agent("--beat"))
            [launcher] = ours(run, "launcher")
            with _injected(launcher, f"{calls}:error=ENOMEM:when=1"):
                coordinator.spawn(run.agent("--exit-after", "0.2"))
                coordinator.spawn(run.agent("--exit-after", "0.2"))
            coordinator.spawn(run.agent("--exit-after", "0.2"))
        run.judge()
        # A shim that cannot even leave its session has nobody to tell why; nothing ran, and that is known.
        told = {errno.ENOMEM, None} if calls == "setsid" else {errno.ENOMEM}
        assert set(_errnos_of_failures(run)) <= told
        tally("17 no memory for a system call", runs=2)


@pytest.mark.strace
@pytest.mark.parametrize("number", sweep((6, 9), range(1, 15)))
def test_a_shim_survives_every_file_that_it_cannot_open(tmp_path: Path, tally: Tally, number: int) -> None:
    """ENFILE for the K-th file that shim and agent open before exec: a failed start, or running and watched."""
    with Run.create(tmp_path, seed=number) as run:
        with run.coordinator(variables=marked(run)) as coordinator:
            coordinator.spawn(run.agent("--beat"))
            [launcher] = ours(run, "launcher")
            with _injected(launcher, f"openat:error=ENFILE:when={number}"):
                coordinator.spawn(run.agent("--exit-after", "0.2", "--code", "3"))
            coordinator.spawn(run.agent("--exit-after", "0.2"))
        run.judge()
        assert set(_errnos_of_failures(run)) <= {errno.ENFILE, None}
        tally("17 shim out of descriptors")


@contextmanager
def _injected(pid: int, fault: str) -> Iterator[None]:
    """A fault in the system calls of a process and of those that it forks meanwhile."""
    command = ["strace", "-f", "-q", "-o", "/dev/null", "-e", f"inject={fault}", "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        eventually(
            lambda: f"TracerPid:\t{tracer.pid}\n" in Path(f"/proc/{pid}/status").read_text(), "it is traced"
        )
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def _errnos_of_failures(run: Run) -> list[int | None]:
    with run.manager() as manager:
        return [event.as_json()["data"]["errno"] for event in manager.events() if event.type == "FAILED"]
