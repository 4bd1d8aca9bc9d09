"""The harness and the oracle together on a small real run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.driven import CoordinatorGone
from tests.faults.run import Run
from tests.support.preloaded import ROOT
from tests.support.processes import eventually
from tests.support.tally import Tally


def test_a_killed_coordinator_breaks_no_promise(tmp_path: Path, tally: Tally) -> None:
    """Agents of several kinds, the coordinator killed in between: the oracle finds nothing, nothing is left."""
    with Run.create(tmp_path, seed=1) as run:
        first = run.coordinator()
        quick, keeper, _ = first.spawn(
            run.agent("--exit-after", "0.6", "--code", "7"),
            run.agent("--beat"),
            run.agent("--ignore", "TERM", "--fork", "1"),
        )
        first.kill()
        run.snapshot()
        with run.coordinator() as second:
            second.ask("wait", agents=[quick])
            second.ask("stop", agents=[keeper])
        report = run.judge()
        assert report.counts["starts"] == 3
        tally("3 coordinator killed at random", coordinator_kills=1)
        path = run.path
    assert not path.exists()


def test_a_forked_command_is_the_command(tmp_path: Path) -> None:
    """`outlive` forked from a process that has imported it prints and returns what it does when started anew."""
    with Run.create(tmp_path, seed=4) as run:
        assert run.outlive("run", "--name", "one", "--", *run.program("--exit-after", "0.2")).returncode == 0
        assert run.outlive("wait", "one").returncode == 0
        forked = run.outlive("events", "one")
        anew = subprocess.run(
            [sys.executable, "-m", "manager.cli.main", "--home", str(run.home), "events", "one"],
            cwd=ROOT,
            env=run.variables(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert forked.stdout == anew.stdout != ""
        refused = run.outlive("status", "nobody")
        assert refused.returncode == 4
        assert "nobody" in refused.stderr


def test_an_order_that_was_not_answered_is_noted_as_such(tmp_path: Path) -> None:
    """Whoever asked a coordinator that died does not know, and the list of answers says so."""
    with Run.create(tmp_path, seed=2) as run:
        coordinator = run.coordinator()
        number = coordinator.send("spawn", items=[{"name": "a", "spec": run.agent()}])
        coordinator.kill()
        with pytest.raises(CoordinatorGone):
            coordinator.answer(number)
        assert '"answer": "none"' in (run.path / "clients.jsonl").read_text()


def test_a_violation_keeps_the_run_and_names_it(tmp_path: Path) -> None:
    """A failed run can be judged again by the command that the failure names, outside of the test."""
    with pytest.raises(AssertionError, match="intent before exec") as caught:
        _have_one_run_unannounced(tmp_path)
    (path,) = tmp_path.iterdir()
    assert f"tests.faults.oracle {path}" in "".join(caught.value.__notes__)
    again = subprocess.run([sys.executable, "-m", "tests.faults.oracle", path], cwd=ROOT, check=False)
    assert again.returncode == 1


def _have_one_run_unannounced(tmp_path: Path) -> None:
    with Run.create(tmp_path, seed=3) as run:
        with run.coordinator() as coordinator:
            coordinator.spawn(run.agent("--exit-after", "0.1"))
        eventually(lambda: run.told_by_agents("END"), "the agent ends")
        stray = run.program("--exit-after", "0")
        subprocess.run(stray, env={"OUTLIVE_AGENT_ID": "stray", "OUTLIVE_ATTEMPT": "1"}, check=True)
        run.judge()


def test_a_run_without_a_log_cannot_be_decided(tmp_path: Path) -> None:
    """No evidence is not innocence."""
    asked = subprocess.run(
        [sys.executable, "-m", "tests.faults.oracle", tmp_path], cwd=ROOT, check=False, stderr=subprocess.PIPE
    )
    assert asked.returncode == 2
    assert b"there is no such file" in asked.stderr
