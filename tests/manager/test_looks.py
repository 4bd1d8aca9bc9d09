"""Looks at the processes of the machine: exact CPU times, whole trees."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from eventstore.state import Live
from manager import Manager, firstlook, vitals
from tests.support.agents import shell


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
