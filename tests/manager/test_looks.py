"""Looks at the processes of the machine: exact CPU times, and no more files read than have to be."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from eventstore.state import Live
from manager import Manager, firstlook, vitals
from tests.support.agents import program, shell
from tests.support.processes import eventually


def _target(manager: Manager, name: str) -> vitals.Target:
    living = manager._coordinator.ledger.states[manager.status(name).id].phase
    assert isinstance(living, Live)
    process = living.process
    return vitals.Target(process.pid, process.start_ticks, process.shim_pid)


def test_a_thousandth_of_a_second_of_computing_is_seen() -> None:
    """`stat` counts in ticks of 10 ms: between two looks 50 ms apart they told 0, 20 or 40 %."""
    used = []
    for _ in range(20):
        before, until = firstlook.cpu_seconds(os.getpid()), time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        after = firstlook.cpu_seconds(os.getpid())
        assert before is not None
        assert after is not None
        used.append(after - before)
    assert min(used) >= 0.001
    assert sorted(used)[10] < 0.01  # the median: other threads of this process may compute at times


def test_the_exact_time_is_that_of_stat() -> None:
    """Two looks may be of two kinds: where there is no clock for a moment they must not contradict each other."""
    seen = firstlook.one(os.getpid())
    assert seen is not None
    assert seen[1] is not None
    fields = seen[0][seen[0].rfind(b")") + 2 :].split()
    by_ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    assert by_ticks == pytest.approx(seen[1], abs=0.03)


def test_without_exact_clocks_looks_are_further_apart(
    manager: Manager, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel may have no clock for another process."""
    target = _target(manager, manager.spawn(shell(home, "while :; do :; done"), "busy").name)
    monkeypatch.setattr(firstlook, "cpu_seconds", lambda pid: None)
    sampler = vitals.Sampler()
    [seen] = sampler.sample([target])
    first, second = sampler._looks
    assert second.at - first.at >= vitals.LEAST_INTERVAL_BY_TICKS_SECONDS
    assert (seen.cpu_percent or 0) > 0


def test_a_look_leaves_out_the_shims_that_live_as_recorded(manager: Manager, home: Path) -> None:
    """They are half of all processes, and nothing of them is shown."""
    manager.spawn(shell(home, "sleep 1000 & sleep 1000"), "tree")
    target = _target(manager, "tree")
    [seen] = vitals.Sampler().sample([target])
    eventually(lambda: vitals.Sampler().sample([target])[0].processes == 3, "all three are counted")
    assert seen.is_alive
    assert target.shim_pid not in vitals._read(targets=[target]).processes
    assert target.shim_pid in vitals._read().processes


def test_a_look_after_the_shim_is_gone(manager: Manager, home: Path) -> None:
    """Its number may be anybody's now, so that whoever has it is looked at."""
    manager.spawn(program(home, "sleep", "1000"), "orphan")
    target = _target(manager, "orphan")
    assert target.shim_pid is not None
    os.kill(target.shim_pid, signal.SIGKILL)
    eventually(
        lambda: vitals._read().processes[target.pid].parent != target.shim_pid, "it has another parent"
    )
    reused = target._replace(shim_pid=os.getpid())
    assert os.getpid() in vitals._read(targets=[reused]).processes
    [seen] = vitals.Sampler().sample([reused])
    assert (seen.is_alive, seen.processes) == (True, 1)


def test_a_look_at_a_reused_number(manager: Manager, home: Path) -> None:
    """One that is not the recorded process proves nothing about the recorded shim."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    target = _target(manager, "it")
    another = target._replace(start_ticks=(target.start_ticks or 0) - 1)
    assert target.shim_pid in vitals._read(targets=[another]).processes
    assert not vitals.Sampler().sample([another])[0].is_alive
