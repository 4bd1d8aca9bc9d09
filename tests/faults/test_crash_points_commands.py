"""kill -9 of commands at every named point: of those that act as a coordinator, and of those that ask one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from eventstore.crashpoints import POINTS
from tests.faults.commands import command, command_dies, commands
from tests.faults.crashes import Crash, Crashes, settles_for_good
from tests.faults.run import Run
from tests.faults.test_crash_points import CHAINS, HITS, ORDINARY, ROW
from tests.support.processes import eventually
from tests.support.tally import Tally

ASKING = sorted(point for point in POINTS if point.startswith("client."))


@pytest.mark.parametrize("points", CHAINS, ids=lambda points: f"{points[-1]} and {len(points) - 1} before")
def test_commands_killed_at_one_point_after_the_other(
    tmp_path: Path, tally: Tally, points: tuple[str, ...]
) -> None:
    """Wherever a command dies, the next one knows what became of every agent, and starts none twice."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        for point in points:
            command_dies(run, crashes, Crash(point))
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", ORDINARY)
def test_every_command_killed_at_a_point(tmp_path: Path, tally: Tally, point: str) -> None:
    """Each command of a life in its turn, asked for again after each crash: the same holds."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        for number in range(len(commands(run, 0))):
            *before, last = commands(run, crashes.fresh())[: number + 1]
            for arguments in before:
                command(run, *arguments)
            for hit in HITS:
                crash = Crash(point, hit)
                command(run, *last, **crashes.variables(crash))
                if not crashes.struck(crash):
                    break
        assert crashes.count
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)


def test_a_command_killed_while_it_takes_over(tmp_path: Path, tally: Tally) -> None:
    """The stopped holder is ended by it or by the next one, and nobody else is."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        for point in ("coordinator.before_takeover", "coordinator.after_takeover"):
            crash = Crash(point)
            with run.coordinator() as holder:
                holder.spawn(run.agent("--beat"), names=[f"keeper-{crashes.fresh()}"])
                run.kill("coordinator", holder.pid, signal.SIGSTOP)
                run.fault("kill", "coordinator", pid=holder.pid)
                done = command(run, "recover", "--takeover", **crashes.variables(crash))
                assert crashes.struck(crash), done
                holder.kill()
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)


@pytest.mark.parametrize("point", ASKING)
def test_a_command_killed_while_it_asks(tmp_path: Path, tally: Tally, point: str) -> None:
    """What it asked for is done once or never, and the coordinator goes on."""
    with Run.create(tmp_path, seed=1) as run, run.coordinator() as coordinator:
        crashes, crash = Crashes(run), Crash(point)
        asked = ("run", "--name", "keeper-asked", "--", *run.program("--beat"))
        coordinator.spawn(run.agent("--beat"), names=["keeper"])
        assert command(run, *asked, **crashes.variables(crash)).returncode == -signal.SIGKILL
        assert crashes.struck(crash)
        if point == "client.after_accept":  # before it, a request of somebody who is gone may be dropped
            eventually(lambda: len(run.told_by_agents()) == 2, "what was accepted is done")
        assert command(run, "stop", "keeper").returncode == 0
        assert coordinator.leave() == 0
        settles_for_good(run)
        run.judge()
        tally("1 asking command killed at every crash point")
