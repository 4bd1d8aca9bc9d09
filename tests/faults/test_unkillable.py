"""Agents that do not end: deaf, stopped, frozen, asleep in the kernel. None is said to have ended before it has."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manager.process import procfs
from manager.status import AgentStatus
from manager.view import View
from tests.faults.driven import Driven
from tests.faults.run import Run
from tests.support.disks import disk
from tests.support.groups import Group, group
from tests.support.others import Other
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

SHORT = (0.2, 0.2, 0.6)  # waits of a stop that is to time out soon
NAME = "stuck"

pytestmark = pytest.mark.root


@pytest.fixture
def freezer() -> Iterator[Group]:
    """A cgroup whose processes neither run nor can be killed while it is frozen (version 1)."""
    with group("freezer") as made:
        yield made


@contextmanager
def frozen(freezer: Group, pid: int) -> Iterator[Callable[[], None]]:
    """Freeze it; thawed by the function that is given, or behind the block."""

    def thaw() -> None:
        freezer["freezer.state"] = "THAWED"

    freezer.add(pid)
    freezer["freezer.state"] = "FROZEN"
    try:
        eventually(lambda: freezer["freezer.state"] == "FROZEN", "it is frozen")
        yield thaw
    finally:
        thaw()


def test_an_agent_that_cannot_be_killed_is_never_said_to_have_ended(
    tmp_path: Path, tally: Tally, freezer: Group
) -> None:
    """Its stop times out and says so; it keeps its name and is not started again; once it dies, that is recorded."""
    with Run.create(tmp_path, seed=1) as run:
        coordinator = run.coordinator()
        pid = _start(run, coordinator, run.agent(stop_grace_seconds=SHORT))
        with frozen(freezer, pid) as thaw:
            _stays_stopping(run, coordinator)
            coordinator.kill()
            with run.coordinator() as another:
                _stays_stopping(run, another)
                assert runs(pid)
                thaw()
                another.ask("wait", agents=[NAME])
        _ended_once(run, pid, "KILLED")
        run.judge()
        tally("20 agent that cannot be killed")


def test_an_agent_asleep_on_its_disk_is_never_said_to_have_ended(tmp_path: Path, tally: Tally) -> None:
    """The same of a process in uninterruptible sleep, its file system frozen under it."""
    with Run.create(tmp_path, seed=2) as run, disk() as slow:
        slow.freeze()
        with run.coordinator() as coordinator:
            spec = run.agent("--touch", str(slow.path / "file"), stop_grace_seconds=SHORT)
            pid = _start(run, coordinator, spec)
            eventually(lambda: _state_of(pid) == "D", "it sleeps in the kernel")
            assert coordinator.ask("stop", agents=[NAME])["answer"] == "ack"
            assert _status(run).state == "STOPPING"
            assert runs(pid)
            slow.thaw()
            coordinator.ask("wait", agents=[NAME])
        _ended_once(run, pid, "KILLED")
        run.judge()
        tally("20 agent that cannot be killed")


def test_what_people_are_told_of_an_agent_that_cannot_be_killed(
    tmp_path: Path, tally: Tally, freezer: Group
) -> None:
    """`stop`, `kill` and `restart` return 124 and say that it is still there; `run` finds its name in use."""
    with Run.create(tmp_path, seed=3) as run:
        with run.coordinator() as coordinator:
            pid = _start(run, coordinator, run.agent(stop_grace_seconds=SHORT))
        with frozen(freezer, pid):
            for command in ("stop", "restart", "kill"):
                done = run.outlive(command, NAME)
                assert done.returncode == 124, (command, done)
                assert "STOPPING" in done.stdout + done.stderr or "even after SIGKILL" in done.stderr, done
            assert f"still there: {pid}" in run.outlive("events", NAME).stdout
            assert run.outlive("wait", NAME, "--timeout", "200ms").returncode == 124
            assert run.outlive("run", "--name", NAME, "--", *run.program()).returncode == 8
            health = run.outlive("health", NAME)
            assert health.returncode == 3
            assert "disk-sleep" in health.stdout
            assert "STOPPING" in run.outlive("ps").stdout
        assert run.outlive("wait", NAME).returncode == 128 + signal.SIGKILL
        _ended_once(run, pid, "KILLED")
        assert run.outlive("run", "--name", NAME, "--", *run.program("--exit-after", "0.1")).returncode == 0
        run.judge()
        tally("20 agent that cannot be killed")


def test_a_shim_that_is_killed_meanwhile_changes_nothing(
    tmp_path: Path, tally: Tally, freezer: Group
) -> None:
    """Without its shim it is still there and STOPPING; when it dies its end is recorded as far as it is known."""
    with Run.create(tmp_path, seed=4) as run:
        with run.coordinator() as coordinator:
            pid = _start(run, coordinator, run.agent(stop_grace_seconds=SHORT))
            with frozen(freezer, pid):
                stat = procfs.read_stat(pid)
                assert stat is not None
                run.kill("shim", stat.parent, agent=_status(run).id)
                coordinator.ask("kill", agents=[NAME])
                assert _status(run).state == "STOPPING"
                assert runs(pid)
            coordinator.ask("wait", agents=[NAME])
        assert _status(run).state in ("KILLED", "LOST")
        run.judge()
        tally("20 agent that cannot be killed")


@pytest.mark.faults
def test_a_descendant_that_cannot_be_killed_is_not_said_to_be_gone(
    tmp_path: Path, tally: Tally, freezer: Group
) -> None:
    """The first process's end is recorded as it was; of its tree nobody says that it is complete."""
    with Run.create(tmp_path, seed=5) as run:
        with run.coordinator() as coordinator:
            _start(run, coordinator, run.agent("--fork", "1", stop_grace_seconds=(0.2, 0.2, 60)))
            child = int(run.told_by_agents("FORK")[0][2])
            with frozen(freezer, child):
                coordinator.ask("stop", agents=[NAME])
        with run.manager() as manager:
            [reaped] = [e.as_json()["data"] for e in manager.events() if e.type == "ZOMBIE_REAPED"]
        assert not reaped["is_tree_complete"]
        assert reaped["leftovers"] in (None, [child])  # its shim tries for 10 s before it says what is left
        eventually(lambda: not runs(child), "it ends after all")
        run.judge()
        tally("20 descendant that cannot be killed")


def test_a_stopped_agent_can_be_stopped(tmp_path: Path, tally: Tally) -> None:
    """SIGSTOP does not protect: SIGTERM comes with SIGCONT, and a deaf one is killed after its waits."""
    with Run.create(tmp_path, seed=6) as run:
        with run.coordinator() as coordinator:
            polite, deaf = coordinator.spawn(run.agent(), run.agent("--ignore", "TERM", "--fork", "1"))
            for words in run.told_by_agents():
                run.kill("agent", int(words[3]), signal.SIGSTOP, agent=words[0])
            coordinator.ask("stop", agents=[polite, deaf])
        with run.manager() as manager:
            assert manager.status(polite).state == "CANCELLED"
            assert manager.status(deaf).state == "KILLED"
        run.judge()
        tally("20 agent that is stopped or deaf", runs=2)


def test_an_agent_frozen_by_its_cgroup_can_be_killed(tmp_path: Path, tally: Tally) -> None:
    """Where the kernel kills frozen processes (cgroup version 2), a stop comes to its end by SIGKILL."""
    with group("unified") as two, Run.create(tmp_path, seed=7) as run:
        if not (two.path / "cgroup.freeze").exists():
            pytest.skip("needs a writable cgroup of version 2")
        with run.coordinator() as coordinator:
            pid = _start(run, coordinator, run.agent(stop_grace_seconds=(0.2, 0.2, 20)))
            two.add(pid)
            two["cgroup.freeze"] = 1
            eventually(lambda: "frozen 1" in two["cgroup.events"], "it is frozen")
            coordinator.ask("stop", agents=[NAME])
        _ended_once(run, pid, "KILLED")
        run.judge()
        tally("20 agent that is stopped or deaf")


def test_an_agent_that_became_somebody_elses_is_not_said_to_have_ended(tally: Tally) -> None:
    """A set-uid program may not be signalled by who started it: its stop goes on to its end, and says what is there."""
    with Other.create() as other:
        program = other.place / "setuid"
        shutil.copy(other.python, program)
        program.chmod(0o4755)
        script = "import os, time; os.setresuid(0, 0, 0); print(os.getpid(), flush=True); time.sleep(1000)"
        started = other.outlive("run", "--name", NAME, "--", str(program), "-I", "-S", "-c", script)
        assert started.returncode == 0, started.stderr
        eventually(lambda: other.outlive("logs", NAME).stdout, "it has become root")
        pid = int(other.outlive("logs", NAME).stdout)
        stopped = other.outlive("stop", NAME, "--grace", "100ms,100ms,300ms")
        assert stopped.returncode == 124, stopped
        assert f"still there: {pid}" in other.outlive("events", NAME).stdout
        assert other.outlive("ps").stdout.splitlines()[1].split()[2] == "STOPPING"
        os.kill(pid, signal.SIGKILL)
        assert other.outlive("wait", NAME).returncode == 128 + signal.SIGKILL
        assert other.outlive("verify").returncode == 0
    tally("20 agent that cannot be killed")


def _start(run: Run, coordinator: Driven, spec: dict[str, object]) -> int:
    coordinator.spawn(spec, names=[NAME])
    pid = _status(run).pid
    assert pid is not None
    return pid


def _status(run: Run) -> AgentStatus:
    view = View.open(run.home)
    try:
        return view.agent(NAME)
    finally:
        view.close()


def _stays_stopping(run: Run, coordinator: Driven) -> None:
    """Whatever is asked of it, it is STOPPING afterwards and nothing was started. The last order is to end it."""
    attempts = len(run.told_by_agents())
    for order in ("stop", "restart", "kill"):
        assert coordinator.ask(order, agents=[NAME])["answer"] == "ack"
        assert _status(run).state == "STOPPING", order
    again = coordinator.ask("spawn", items=[{"name": NAME, "spec": run.agent()}])
    assert "NameInUse" in again["error"]
    same, other = run.agent(stop_grace_seconds=SHORT), run.agent("--beat")
    assert coordinator.ask("ensure", items=[{"name": NAME, "spec": same}])["answer"] == "ack"
    assert "SpecConflict" in coordinator.ask("ensure", items=[{"name": NAME, "spec": other}])["error"]
    assert _status(run).state == "STOPPING"
    assert len(run.told_by_agents()) == attempts


def _ended_once(run: Run, pid: int, state: str) -> None:
    with run.manager() as manager:
        types = [event.type for event in manager.events(agent=NAME)]
        status = manager.status(NAME)
    assert status.state == state, types
    assert types.count("ZOMBIE_REAPED") == 1
    assert status.exit is not None
    assert status.exit.signal == signal.SIGKILL
    assert not runs(pid)


def _state_of(pid: int) -> str:
    stat = procfs.read_stat(pid)
    return "" if stat is None else stat.state
