"""Everything, agents too, stands still for a while, as when a machine sleeps: nothing follows but lateness."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.run import SETTLE_SECONDS, Run
from tests.support.groups import Group, group
from tests.support.processes import eventually
from tests.support.tally import Tally

pytestmark = pytest.mark.root

FROZEN_SECONDS = 1.5  # longer than every wait below
WAIT_SECONDS = 0.5


def test_all_that_runs_stands_still_for_a_while(tmp_path: Path, tally: Tally) -> None:
    """In a start, a stop, a back-off, or idle: all is done once, later, and nobody is taken for dead."""
    grace = (WAIT_SECONDS, WAIT_SECONDS, 20.0)
    again = {"mode": "on-failure", "max_restarts": 2, "backoff_seconds": WAIT_SECONDS}
    with Run.create(tmp_path, seed=1) as run, group("freezer") as ours:
        with run.coordinator() as coordinator:
            ours.add(coordinator.pid)
            deaf, beating = coordinator.spawn(
                run.agent("--ignore", "TERM", stop_grace_seconds=grace), run.agent("--beat")
            )
            _freeze(run, ours)
            failing = run.agent("--exit-after", "0.2", "--code", "3", restart=again)
            start = coordinator.send("spawn", items=[{"name": "failing", "spec": failing}])
            _freeze(run, ours)
            assert coordinator.answer(start)["answer"] == "ack"
            eventually(lambda: run.bodies("RESTART_SCHEDULED"), "it waits for its next attempt")
            _freeze(run, ours)
            stop = coordinator.send("stop", agents=[deaf])
            eventually(lambda: run.bodies("SIGTERM_SENT"), "it is being stopped")
            _freeze(run, ours)
            assert coordinator.answer(stop)["answer"] == "ack"
            done = coordinator.ask("wait", agents=["failing"], timeout=SETTLE_SECONDS)
            assert done["answer"] == "ack", done
            beats = len(run.told_by_agents("BEAT"))
            eventually(lambda: len(run.told_by_agents("BEAT")) > beats, "the other one goes on")
        starts = [words[0] for words in run.told_by_agents()]
        assert sorted(starts.count(agent) for agent in set(starts)) == [1, 1, 3]
        assert starts.count(beating) == 1
        assert not run.bodies("LOST")
        run.judge()
    tally("9 everything frozen for a while", runs=4)


def _freeze(run: Run, ours: Group) -> None:
    run.fault("delay", "all")
    ours["freezer.state"] = "FROZEN"
    try:
        eventually(lambda: ours["freezer.state"] == "FROZEN", "all stand still")
        time.sleep(FROZEN_SECONDS)
    finally:
        ours["freezer.state"] = "THAWED"
