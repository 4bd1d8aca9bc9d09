"""Signals by which people and terminals end programs: coordinators may end by them, agents never notice."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.ours import marked, ours
from tests.faults.run import Run
from tests.support.preloaded import ROOT
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
ROUNDS = 40


def test_a_storm_of_polite_signals_on_launcher_and_shims_changes_nothing(
    tmp_path: Path, tally: Tally
) -> None:
    """They stay, agents start and end meanwhile, and every exit is exact."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator(variables=marked(run)) as coordinator:
            coordinator.spawn(run.agent("--beat"), run.agent())
            launchers, shims = ours(run, "launcher"), ours(run, "shim")
            started = coordinator.send(
                "spawn",
                items=[
                    {"name": f"a{n}", "spec": run.agent("--exit-after", "0.3", "--code", "4")}
                    for n in range(4)
                ],
            )
            for _ in range(ROUNDS):
                for number in POLITE:
                    for what in ("launcher", "shim"):
                        for pid in ours(run, what):
                            run.kill(what, pid, run.chance.choice((number, *POLITE)))
            coordinator.ask("wait", agents=coordinator.answer(started)["agents"])
            assert ours(run, "launcher") == launchers
            assert set(shims) <= set(ours(run, "shim"))
        with run.manager() as manager:
            ended = [status for status in manager.statuses(all=True) if status.is_final]
            assert [status.exit.code for status in ended if status.exit] == [4] * 4
        run.judge()
        tally("4 polite signals to launcher and shims", runs=ROUNDS * len(POLITE))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_coordinator_that_is_ended_politely_leaves_its_agents(
    tmp_path: Path, tally: Tally, number: signal.Signals
) -> None:
    """Sent to its whole process group again and again, as a terminal does: agents run on, and are found again."""
    with Run.create(tmp_path, seed=int(number)) as run:
        coordinator = run.coordinator()
        coordinator.spawn(run.agent("--beat"), run.agent("--exit-after", "0.6", "--code", "5"))
        while coordinator.process.poll() is None:
            run.kill("coordinator", coordinator.pid, number)
            time.sleep(0.005)
        coordinator._end()
        with run.coordinator():
            eventually(lambda: len(run.told_by_agents("END")) == 1, "the other ends by itself")
        run.judge()
        tally("3 polite signals to coordinators")


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.faults)])
def test_ctrl_c_at_any_time_of_a_start_starts_it_or_not(tmp_path: Path, tally: Tally, times: int) -> None:
    """The whole process group gets it, launcher and shim too until they are on their own: nothing is half done."""
    with Run.create(tmp_path, seed=times) as run:
        for _ in range(times):
            command = [sys.executable, "-m", "manager.cli.main", "--home", str(run.home), "run", "--"]
            run.asked_by_command("run")
            started = subprocess.Popen(
                [*command, *run.program("--exit-after", "1")],
                env=run.variables(run.environment()),
                cwd=ROOT,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(run.chance.uniform(0.1, 0.5))
            run.fault("signal", "coordinator", pid=started.pid, signal=int(signal.SIGINT))
            run.fault("signal", "launcher", signal=int(signal.SIGINT))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGINT)
            started.wait()
        run.judge()
        tally("3 Ctrl-C during a start", runs=times)


def test_a_closed_terminal_ends_no_agent(tmp_path: Path, tally: Tally) -> None:
    """The command that followed the agent goes with its terminal; the agent is not even told."""
    with Run.create(tmp_path, seed=9) as run:
        command = ["run", "--name", "it", "--follow", "--", *run.program("--beat")]
        run.asked_by_command(*command)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            arguments = [sys.executable, "-m", "manager.cli.main", "--home", str(run.home), *command]
            os.execve(sys.executable, arguments, run.variables(run.environment()))
        eventually(lambda: run.told_by_agents("BEAT"), "the agent runs")
        run.fault("hangup", "coordinator", pid=pid)
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) != 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGHUP)
        agent = int(run.told_by_agents()[0][3])
        with run.coordinator():
            assert runs(agent)
        run.judge()
        assert not run.told_by_agents("SIG")
        tally("3 closed terminal")
