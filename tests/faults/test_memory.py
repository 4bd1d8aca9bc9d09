"""Agents that the kernel kills for want of memory: FAILED, signal 9, and "oom" where there is evidence of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from manager.process import procfs
from manager.process.kernel_log import KernelLog
from tests.faults.driven import Driven
from tests.faults.hostile import __file__ as hostile
from tests.faults.run import Run
from tests.support.groups import Group, group
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

LIMIT_BYTES = 24 << 20
EACH_BYTES = 12 << 20  # what a Python needs before it eats
FIRST_PID_NAMESPACE = 0xEFFFFFFC

pytestmark = pytest.mark.root


@pytest.fixture
def memory() -> Iterator[Group]:
    """A cgroup with little memory (version 1, of which no coordinator knows)."""
    with group("memory") as made:
        made["memory.limit_in_bytes"] = LIMIT_BYTES
        yield made


def can_be_seen() -> bool:
    """Whether the kernel's log tells us whom it has killed."""
    if procfs.pid_namespace() != FIRST_PID_NAMESPACE:
        return False
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
        return True
    return False


@pytest.mark.parametrize(
    "agents", [2, *(pytest.param(10, marks=pytest.mark.faults, id=f"10-{n}") for n in range(5))]
)
def test_an_agent_killed_for_memory_is_failed_with_that_cause(
    tmp_path: Path, tally: Tally, memory: Group, agents: int
) -> None:
    """By signal 9, with the cause where the kernel's log can be read, and "signal" where nobody can say."""
    with Run.create(tmp_path, seed=agents) as run:
        memory["memory.limit_in_bytes"] = LIMIT_BYTES + agents * EACH_BYTES
        with run.coordinator() as coordinator:
            eaters = _start(run, coordinator, memory, agents)
            coordinator.spawn(run.agent("--beat"))
            _let_eat(run, eaters)
            coordinator.ask("wait", agents=eaters)
        for eater in eaters:
            assert _told(run, eater) == (("oom", True) if can_be_seen() else ("signal", None))
        run.judge()
        tally("18 agent killed for memory", runs=agents)


def test_one_killed_for_memory_without_a_coordinator_is_told_by_the_next(
    tmp_path: Path, tally: Tally, memory: Group
) -> None:
    """Who comes later finds the same in the log of the kernel."""
    with Run.create(tmp_path, seed=1) as run:
        coordinator = run.coordinator()
        eaters = _start(run, coordinator, memory, 1)
        coordinator.kill()
        _let_eat(run, eaters)
        main = int(run.told_by_agents()[0][3])
        eventually(lambda: not runs(main), "it is killed")
        run.settle()
        assert _told(run, eaters[0]) == (("oom", True) if can_be_seen() else ("signal", None))
        run.judge()
        tally("18 agent killed for memory")


def test_one_killed_for_memory_without_its_shim_has_its_cause(
    tmp_path: Path, tally: Tally, memory: Group
) -> None:
    """The exit comes from the pidfd then; the cause comes from where it always does."""
    with Run.create(tmp_path, seed=2) as run:
        with run.coordinator() as coordinator:
            eaters = _start(run, coordinator, memory, 1)
            stat = procfs.read_stat(int(run.told_by_agents()[0][3]))
            assert stat is not None
            run.kill("shim", stat.parent, agent=eaters[0])
            _let_eat(run, eaters)
            coordinator.ask("wait", agents=eaters)
        if _told(run, eaters[0])[0] is not None:  # None: a kernel that tells no exit of an orphan
            assert _told(run, eaters[0]) == (("oom", True) if can_be_seen() else ("signal", None))
        run.judge()
        tally("18 agent killed for memory")


def test_a_kill_by_somebody_else_is_not_taken_for_want_of_memory(
    tmp_path: Path, tally: Tally, memory: Group
) -> None:
    """SIGKILL from outside, even in a group in which others were killed for memory, has the cause "signal"."""
    with Run.create(tmp_path, seed=3) as run:
        with run.coordinator() as coordinator:
            eaters = _start(run, coordinator, memory, 1)
            [victim] = coordinator.spawn({**run.agent(), "command": [*memory.within, *run.program()]})
            _let_eat(run, eaters)
            coordinator.ask("wait", agents=eaters)
            main = next(int(words[3]) for words in run.told_by_agents() if words[0] == victim)
            run.kill("agent", main, signal.SIGKILL, agent=victim)
            coordinator.ask("wait", agents=[victim])
        assert _told(run, victim) == ("signal", None)
        run.judge()
        tally("18 agent killed for memory")


def test_a_forged_word_of_the_kernel_is_not_believed(tally: Tally) -> None:
    """Whoever writes to the kernel's log what the kernel would write is told apart from it."""
    if not can_be_seen():
        pytest.skip("needs a kernel log that can be read")
    log = KernelLog()
    for priority in (0, 3, 6):
        Path("/dev/kmsg").write_text(
            f"<{priority}>Memory cgroup out of memory: Killed process 1 (init) total-vm:1kB\n"
        )
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert log.has_killed(1, since_ns=0, until_ns=now) is None
    log.close()
    tally("18 forged word of the kernel", runs=3)


def test_without_the_kernels_log_nothing_is_claimed(tmp_path: Path) -> None:
    """A log that is not there, may not be read or holds nothing is no answer, and not a no."""
    for path in ("/dev/null", str(tmp_path / "missing"), str(tmp_path)):
        log = KernelLog(path)
        assert log.has_killed(1, since_ns=0, until_ns=1) is None
        log.close()


def _start(run: Run, coordinator: Driven, memory: Group, number: int) -> list[str]:
    eater = [*memory.within, sys.executable, "-I", "-S", hostile, str(run.ledger), "eat"]
    agents = coordinator.spawn(*[{**run.agent(), "command": eater}] * number)
    eventually(lambda: len(run.told_by_agents()) >= number, "they have started")
    return agents


def _let_eat(run: Run, agents: Sequence[str]) -> None:
    for agent in agents:
        run.fault("oom", "agent", agent=agent)
    run.ledger.with_name("ledger.eat").touch()


def _told(run: Run, agent: str) -> tuple[str | None, bool | None]:
    with run.manager() as manager:
        told = {event.type: event.as_json()["data"] for event in manager.events(agent=agent)}
        status = manager.status(agent)
    if "FAILED" not in told:
        return None, None
    assert status.exit is not None
    assert status.exit.signal == signal.SIGKILL
    return told["FAILED"]["cause"], told["ZOMBIE_REAPED"]["oom_killed"]
