"""Clocks that are set: order goes by position, waits by a clock that nobody sets, and nothing is started in a storm.

Suspending the machine cannot be tried here. In one process the clock is a fake that jumps; over processes libfaketime
gives each command another time of its own.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from manager import AgentSpec, Manager, RestartPolicy, TimedOut
from tests.faults.run import Run
from tests.faults.sweeps import sweep
from tests.support.agents import types
from tests.support.processes import eventually
from tests.support.tally import Tally

HOUR = 3600
YEAR = 365 * 24 * HOUR
JUMPS = (5 * HOUR, -5 * HOUR, 14 * YEAR, -20 * YEAR)  # beyond 2038, and before anything that was recorded
TIMES = ("-5h", "2038-01-19 03:14:00", "+5h", "2041-02-28 23:59:59", "-3d", "1999-12-31 23:59:58")
WAIT_SECONDS = 0.6
PATIENCE_SECONDS = 20.0
SLACK_SECONDS = 0.05


class Clock:
    """The wall clock, set forward or back by some seconds."""

    def __init__(self) -> None:
        self._real = time.time_ns
        self.offset_seconds = 0

    def __call__(self) -> int:
        """Nanoseconds since the epoch."""
        return self._real() + self.offset_seconds * 1_000_000_000

    def jump(self, run: Run, seconds: int) -> None:
        """Set it, from now on."""
        run.fault("clock", "coordinator", seconds=seconds)
        self.offset_seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The wall clock of this process; its launchers and shims have the real one."""
    fake = Clock()
    monkeypatch.setattr(time, "time_ns", fake)
    yield fake
    fake.offset_seconds = 0


@pytest.mark.parametrize("seconds", sweep((-5 * HOUR, 14 * YEAR), JUMPS))
def test_a_jump_changes_no_wait_of_a_coordinator(
    tmp_path: Path, tally: Tally, clock: Clock, seconds: int
) -> None:
    """A stop's stages and a back-off take the time that was asked for, whatever the wall clock does meanwhile."""
    with Run.create(tmp_path, seed=1) as run:
        with run.manager() as manager:
            deaf = manager.spawn(
                _spec(run, "--ignore", "TERM", stop_grace_seconds=(WAIT_SECONDS, WAIT_SECONDS, 20))
            )
            again = manager.spawn(_failing(run))
            _next_to(run, clock, seconds, lambda: manager.stop(deaf))
            eventually(
                lambda: len(_times(run, "START", again.id)) >= 2, "its second attempt", PATIENCE_SECONDS
            )
            with pytest.raises(TimedOut):
                _next_to(run, clock, seconds, lambda: manager.wait(again, timeout=0.3))
            manager.kill(again)
            first, second = _times(run, "SIG", deaf.id, number="15")
            assert WAIT_SECONDS - SLACK_SECONDS < second - first < PATIENCE_SECONDS
            pause = _times(run, "START", again.id)[1] - _times(run, "END", again.id)[0]
            assert WAIT_SECONDS - SLACK_SECONDS < pause < PATIENCE_SECONDS
            _is_in_order(manager)
        clock.offset_seconds = 0
        run.judge()
        tally("9 clock set, coordinator goes on", runs=3)


@pytest.mark.parametrize("seconds", sweep((-5 * HOUR, 14 * YEAR), JUMPS))
def test_a_wait_that_another_coordinator_takes_over_is_bounded(
    tmp_path: Path, tally: Tally, clock: Clock, seconds: int
) -> None:
    """After a jump backwards it takes as long as it would have from its beginning, no hours; forwards it is over."""
    with Run.create(tmp_path, seed=2) as run:
        with run.manager() as manager:
            deaf = manager.spawn(_spec(run, "--ignore", "TERM", stop_grace_seconds=(1, 1, 20)))
            again = manager.spawn(_failing(run))
            eventually(lambda: manager.status(again).state == "BACKOFF", "it waits")
            manager.stop(deaf, wait=False)
        clock.jump(run, seconds)
        began = time.monotonic()
        with run.manager() as manager:
            assert manager.wait(deaf, timeout=PATIENCE_SECONDS).state == "KILLED"
            eventually(
                lambda: len(_times(run, "START", again.id)) >= 2, "its second attempt", PATIENCE_SECONDS
            )
            assert time.monotonic() - began < PATIENCE_SECONDS
            manager.kill(again)
            _is_in_order(manager)
        clock.offset_seconds = 0
        run.judge()
        tally("9 clock set, another coordinator goes on", runs=2)


@pytest.mark.parametrize("seconds", sweep((HOUR,), (HOUR, -HOUR)))
def test_a_clock_that_keeps_jumping_starts_nothing_in_a_storm(
    tmp_path: Path, tally: Tally, clock: Clock, seconds: int
) -> None:
    """However often it is set, and a new coordinator comes: a budget of restarts is kept to."""
    with Run.create(tmp_path, seed=3) as run:
        policy = RestartPolicy(mode="on-failure", max_restarts=3, backoff_seconds=0.05)
        with run.manager() as manager:
            agent = manager.spawn(_spec(run, "--exit-after", "0.2", "--code", "1", restart=policy))
        for _ in range(12):
            clock.jump(run, seconds)
            with Manager.open(run.home):
                time.sleep(0.1)
        with run.manager() as manager:
            manager.wait(agent, timeout=PATIENCE_SECONDS)
            assert types(manager, agent.id)[-1] == "RESTART_GIVEN_UP"
            assert len(_times(run, "START", agent.id)) == 4
            _is_in_order(manager)
        clock.offset_seconds = 0
        run.judge()
        tally("9 clock set again and again", runs=12)


def test_an_early_end_is_no_late_one_because_the_clock_was_set(
    tmp_path: Path, tally: Tally, clock: Clock
) -> None:
    """An agent that fails at once while the clock goes back or forth has failed its start: its shim timed it."""
    with Run.create(tmp_path, seed=4) as run:
        for seconds in JUMPS:
            with run.manager() as manager:
                spec = _spec(run, "--exit-after", "0.1", "--code", "1", start_window_seconds=30.0)
                agent = manager.spawn(spec, wait=False)
                clock.jump(run, seconds)
                ended = manager.wait(agent, timeout=PATIENCE_SECONDS)
                assert (ended.state, ended.cause) == ("FAILED", "failed start")
                assert "RUNNING" not in types(manager, agent.id)
        clock.offset_seconds = 0
        run.judge()
        tally("9 clock set, coordinator goes on", runs=len(JUMPS))


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs libfaketime (Debian: faketime)")
@pytest.mark.parametrize("count", sweep((3,), (3, 2 * len(TIMES))))
def test_coordinators_with_clocks_of_their_own_tell_one_history(
    tmp_path: Path, tally: Tally, count: int
) -> None:
    """Commands whose clocks are hours apart, or beyond 2038, start, stop and find the same agents, in one order."""
    times = (*TIMES, *reversed(TIMES))[:count]
    with Run.create(tmp_path, seed=5) as run:
        run.fault("clock", "coordinator")
        spec = run.agent("--beat", inherit_env=False)
        for number, at in enumerate(times):
            under = ("faketime", "-f", f"@{at}") if at[0].isdigit() else ("faketime", "-f", at)
            with run.coordinator(under=under) as coordinator:
                coordinator.spawn(spec, names=[f"a{number}"])
                if number:
                    stopped = coordinator.ask("stop", agents=[f"a{number - 1}"])
                    assert stopped["answer"] == "ack", stopped
        with run.manager() as manager:
            _is_in_order(manager)
            states = {status.name: status.state for status in manager.statuses(all=True)}
        running = f"a{len(times) - 1}"
        assert states == {f"a{n}": "CANCELLED" for n in range(len(times) - 1)} | {running: "RUNNING"}
        run.judge()
        tally("9 clocks of libfaketime", runs=len(times))


def _spec(run: Run, *behaviour: str, **more: object) -> AgentSpec:
    return AgentSpec.model_validate(run.agent(*behaviour, **more))


def _failing(run: Run) -> AgentSpec:
    policy = RestartPolicy(mode="on-failure", backoff_seconds=WAIT_SECONDS)
    return _spec(run, "--exit-after", "0.3", "--code", "1", restart=policy)


def _next_to(run: Run, clock: Clock, seconds: int, act: object) -> None:
    """Do it, and set the clock when it has begun."""
    assert callable(act)
    jump = threading.Timer(0.2, clock.jump, (run, seconds))
    jump.start()
    try:
        act()
    finally:
        jump.join()


def _times(run: Run, kind: str, agent: str, *, number: str = "") -> list[float]:
    """When an agent has told so (of a signal's `number`), in seconds since boot."""
    told = [words for words in run.told_by_agents(kind) if words[0] == agent]
    return [int(words[-1]) / 1e9 for words in told if not number or words[3] == number]


def _is_in_order(manager: Manager) -> None:
    events = list(manager.events())
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert all(before.recorded_at <= after.recorded_at for before, after in pairwise(events))
    assert manager._coordinator.store.verify().is_intact
