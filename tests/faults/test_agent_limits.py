"""Rules of agents through the deaths of their coordinators: each is stopped once, by whoever holds the home then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.run import Run
from tests.support.processes import eventually
from tests.support.tally import Tally

WALL_SECONDS = 2.0
AGAIN = {"mode": "on-failure", "backoff_seconds": 0.1, "max_restarts": 1}


def _states(run: Run, name: str) -> list[tuple[str, int]]:
    return [
        (str(state), int(attempt))
        for state, attempt in run.rows(f"SELECT state, attempt FROM agents WHERE name = '{name}'")
    ]


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_coordinator_is_killed_before_a_limit_or_while_it_stops(
    tmp_path: Path, tally: Tally, moment: str
) -> None:
    """The next one enforces what is left of the time, or goes on with the stop; the others run on."""
    with Run.create(tmp_path, seed=1) as run:
        limits = {"wall_seconds": WALL_SECONDS}
        deaf = run.agent(
            "--ignore", "TERM", limits=limits, restart=AGAIN, stop_grace_seconds=(2.0, 0.3, 20.0)
        )
        many = run.agent("--fork", "4", limits={"processes": 3})
        roomy = run.agent("--beat", limits={"wall_seconds": 3600, "memory_bytes": 1 << 40, "processes": 100})
        with run.coordinator() as coordinator:
            coordinator.spawn(deaf, roomy, names=["deaf", "roomy"])
            if moment == "during":
                eventually(lambda: _states(run, "deaf") == [("STOPPING", 1)], "its limit stops it")
            coordinator.kill()
        with run.coordinator() as coordinator:
            (id_,) = coordinator.spawn(many, names=["many"])
            agents = [str(row[0]) for row in run.rows("SELECT agent_id FROM agents WHERE name = 'deaf'")]
            coordinator.ask("wait", agents=[*agents, id_])
        assert _states(run, "deaf") == [("FAILED", 2)]
        assert _states(run, "many") == [("FAILED", 1)]
        assert _states(run, "roomy") == [("RUNNING", 1)]
        orders = run.bodies("STOP_REQUESTED")
        assert [one["cause"] for one in orders] == ["limit"] * 3
        assert all("its limit is" in one["reason"] for one in orders)
        run.judge()
        tally(f"2 a limit is enforced by the next coordinator ({moment})")


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_coordinator_is_killed_before_an_agent_was_silent_for_too_long_or_while_it_stops(
    tmp_path: Path, tally: Tally, moment: str
) -> None:
    """The next one goes by the times of the files, or goes on with the stop; one that writes runs on."""
    with Run.create(tmp_path, seed=1) as run:
        rule = {"silence_seconds": 2.0}
        deaf = run.agent("--ignore", "TERM", health=rule, restart=AGAIN, stop_grace_seconds=(2.0, 0.3, 20.0))
        talks = {
            "command": ("sh", "-c", "while :; do echo on; sleep 0.2; done"),
            "env": run.environment(),
            "health": rule,
        }
        with run.coordinator() as coordinator:
            coordinator.spawn(deaf, talks, names=["deaf", "talks"])
            if moment == "during":
                eventually(lambda: _states(run, "deaf") == [("STOPPING", 1)], "its silence stops it")
            coordinator.kill()
        with run.coordinator() as coordinator:
            agents = [str(row[0]) for row in run.rows("SELECT agent_id FROM agents WHERE name = 'deaf'")]
            coordinator.ask("wait", agents=agents)
        assert _states(run, "deaf") == [("FAILED", 2)]
        assert _states(run, "talks") == [("RUNNING", 1)]
        assert [one["cause"] for one in run.bodies("STOP_REQUESTED")] == ["health"] * 2
        assert [one["health"] for one in run.bodies("HEALTH_CHANGED")] == ["unhealthy"] * 2
        run.judge()
        tally(f"2 silence is enforced by the next coordinator ({moment})")
