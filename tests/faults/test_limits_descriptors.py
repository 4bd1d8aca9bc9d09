"""Out of descriptors: a start fails with its reason, nothing half-started stays, agents run on, and it passes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manager.control import ask
from tests.faults.driven import Driven
from tests.faults.ours import free_numbers, limit_descriptors, marked, ours
from tests.faults.run import Run
from tests.faults.sweeps import sweep
from tests.support.preloaded import ROOT
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

STARVED_SECONDS = 1.5  # longer than what is tried again waits for its second try
FAST = (0, 3, 5)
REASONS = "descriptor|Too many open files|ulimit -n"
ENOUGH = 12  # free descriptors with which everything works


@contextmanager
def starved(coordinator: Driven, spare: int) -> Iterator[None]:
    """`spare` more descriptors for the coordinator, and no more."""
    limit_descriptors(coordinator.pid, free_numbers(coordinator)[spare])
    try:
        yield
    finally:
        limit_descriptors(coordinator.pid, None)


@pytest.mark.parametrize("spare", sweep(FAST, range(ENOUGH + 1)))
def test_a_coordinator_without_descriptors_goes_on_when_there_are_some(
    tmp_path: Path, tally: Tally, spare: int
) -> None:
    """A start, a stop and an exit in that time: each is refused with a reason, or done when there are some again."""
    with Run.create(tmp_path, seed=spare) as run:
        with run.coordinator() as coordinator:
            leaver, stopped, _ = coordinator.spawn(
                run.agent("--exit-after", "0.5", "--code", "7"), run.agent(), run.agent("--beat")
            )
            with starved(coordinator, spare):
                start = coordinator.send("spawn", items=[{"name": "late", "spec": run.agent()}])
                stop = coordinator.send("stop", agents=[stopped])
                time.sleep(STARVED_SECONDS)
            coordinator.answer(start)
            assert coordinator.answer(stop)["answer"] == "ack"
            coordinator.ask("wait", agents=[leaver])
            coordinator.spawn(run.agent("--exit-after", "0.1"))
        run.judge()
        tally("17 coordinator out of descriptors")


def test_a_stop_takes_no_descriptor(tmp_path: Path, tally: Tally) -> None:
    """An agent that a coordinator has started is ended even while it can open nothing."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            [agent] = coordinator.spawn(run.agent("--ignore", "TERM"))
            with starved(coordinator, 0):
                stop = coordinator.send("stop", agents=[agent])
                eventually(lambda: run.told_by_agents("SIG"), "the agent gets its SIGTERM")
            assert coordinator.answer(stop)["answer"] == "ack"
        run.judge()
        tally("17 coordinator out of descriptors")


def test_a_launcher_without_descriptors_starts_nothing_by_halves(tmp_path: Path, tally: Tally) -> None:
    """With each number of descriptors for launcher and shim a program runs and is known, or failed with EMFILE."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator(variables=marked(run)) as coordinator:
            coordinator.spawn(run.agent("--beat"))
            [launcher] = ours(run, "launcher")
            for limit in range(4, 20):
                limit_descriptors(launcher, limit)
                coordinator.spawn(run.agent("--exit-after", "0.2"))
            limit_descriptors(launcher, None)
            coordinator.spawn(run.agent("--exit-after", "0.2"))
            assert ours(run, "launcher") == [launcher]
        run.judge()
        with run.manager() as manager:
            failed = [event.as_json()["data"] for event in manager.events() if event.type == "FAILED"]
            assert failed
            assert {failure["errno"] for failure in failed} == {24}
            assert any(status.state == "COMPLETED" for status in manager.statuses(all=True))
        tally("17 launcher and shim out of descriptors", runs=16)


@pytest.mark.parametrize("limit", sweep((12, 17, 20), range(5, 26)))
def test_a_command_with_few_descriptors_starts_an_agent_or_says_why_not(
    tmp_path: Path, tally: Tally, limit: int
) -> None:
    """`ulimit -n` at each number: one line that says so, or an agent that runs; then, with enough, it works."""
    with Run.create(tmp_path, seed=limit) as run:
        command = [sys.executable, "-m", "manager.cli.main", "--home", str(run.home), "run", "--name", "it"]
        run.asked_by_command("run", "--name", "it")
        done = subprocess.run(
            ["prlimit", f"--nofile={limit}:{limit}", *command, "--", *run.program("--exit-after", "0.3")],
            env=run.variables(run.environment()),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            assert re.search(f"^outlive: cannot .*({REASONS})", done.stderr, re.MULTILINE), done.stderr
        assert run.outlive("run", "--name", "next", "--", *run.program("--exit-after", "0.1")).returncode == 0
        run.judge()
        tally("17 command with few descriptors")


def test_a_tree_with_more_processes_than_descriptors_is_ended(tmp_path: Path, tally: Tally) -> None:
    """A fork bomb does not protect itself by its size: handles are opened one at a time."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            [agent] = coordinator.spawn(run.agent("--ignore", "TERM", "--fork", "60"))
            eventually(lambda: len(run.told_by_agents("FORK")) == 60, "it has forked")
            with starved(coordinator, ENOUGH):
                coordinator.ask("stop", agents=[agent])
            forked = [int(words[2]) for words in run.told_by_agents("FORK")]
            eventually(lambda: not any(runs(pid) for pid in forked), "the whole tree is gone")
        run.judge()
        tally("17 tree larger than the limit of descriptors")


def test_the_control_socket_is_heard_again(tmp_path: Path, tally: Tally) -> None:
    """Requests that came while there was no descriptor for them are answered when there are some."""
    with Run.create(tmp_path, seed=1) as run, run.coordinator() as coordinator:
        coordinator.spawn(run.agent())
        with starved(coordinator, 0):
            client = subprocess.Popen(
                [sys.executable, "-m", "manager.cli.main", "--home", str(run.home), "recover"],
                env=run.variables(),
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            time.sleep(STARVED_SECONDS)
        client.communicate(timeout=60)
        assert client.returncode in (0, 7), client.returncode
        assert ask(run.home / "control.sock", "recover", {}, actor="test")["lost"] == 0
        tally("17 coordinator out of descriptors")
