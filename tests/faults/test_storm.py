"""Kills at random times, of everything that is ours and of agents, judged by the oracle."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import storm, targets
from tests.faults.run import Run
from tests.faults.storm_pace import Pace
from tests.support.cluster import Cluster
from tests.support.tally import Tally

RUNS, KILLS = 6, 70  # `make storm` has a hundred runs of a hundred
SHIMS = 40
POSTGRES_KILLS = 12


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(RUNS))
def test_a_storm_of_kills(tmp_path: Path, tally: Tally, seed: int) -> None:
    """Whatever it was at: nothing runs twice, nothing is guessed, nothing is forgotten, nothing is left."""
    counts = storm.one_run(tmp_path, seed, KILLS)
    told = ("starts", "killed: coordinator", "killed: command", *(name for name in counts if "exits" in name))
    more = {re.sub(r"\W+", "_", name): counts[name] for name in told}
    tally("3 anything killed at random", runs=counts["kills"], **more)
    tally("4 launcher or shim killed at random", runs=counts["killed: launcher"] + counts["killed: shim"])
    tally("5 several of ours killed together, at random", runs=counts["several at once"])


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_a_storm_of_kills_over_a_log_in_postgresql(tmp_path: Path, tally: Tally, cluster: Cluster) -> None:
    """A short one; the oracle reads the log there."""
    url = cluster.new_database()
    counts = storm.one_run(tmp_path, 1, POSTGRES_KILLS, url)
    tally("3 anything killed at random, the log in PostgreSQL", runs=counts["kills"])
    cluster.drop(url)


def test_the_next_kill_came_before_what_was_ordered_had_begun(tmp_path: Path) -> None:
    """On a busy machine most did: now they wait for a start or an exit, after those that the recovery found."""
    with Run.create(tmp_path, seed=1) as run, run.coordinator() as coordinator:
        pace = Pace(run)
        coordinator.ask("wait", agents=coordinator.spawn(run.agent("--exit-after", "0"), names=["earlier"]))
        pace.begin()
        item = {"name": "it", "spec": run.agent("--exit-after", "0", "--code", "7")}
        number = coordinator.send("spawn", items=[item], wait=False)
        pace.ordered("spawn")
        pace.await_work(lambda: False)
        done = len(run.bodies("STARTED") + run.bodies("ZOMBIE_REAPED"))
        [agent] = coordinator.answer(number)["agents"]
        coordinator.ask("wait", agents=[agent])
        coordinator.close()
        run.judge()
    assert done > len(("earlier started", "earlier ended"))


def test_a_storm_in_which_hardly_anything_was_done_passed() -> None:
    """Its kills show little: it says so."""
    enough = Counter({"kills": 100, "starts": 10, "exits known, by its shim": 8, "exits unknown": 2})
    storm.require_work(enough)
    for lack in ("starts", "exits unknown"):
        with pytest.raises(AssertionError, match="too little was done"):
            storm.require_work(enough - Counter({lack: 1}))


def test_a_lost_shim_hides_no_exit_code_from_a_coordinator_that_watches(tmp_path: Path, tally: Tally) -> None:
    """Shims are killed while their agents run: whoever held the agents' pidfds tells every exit exactly."""
    with (
        Run.create(tmp_path, seed=11) as run,
        run.coordinator(variables=targets.variables(run)) as coordinator,
    ):
        moments = [f"{run.chance.uniform(1, 4):.3f}" for _ in range(SHIMS)]
        agents = coordinator.spawn(*(run.agent("--exit-after", moment, "--code", "7") for moment in moments))
        lost = 0
        while living := [target for target in targets.helpers(run) if target.role == "shim"]:
            chosen = run.chance.sample(living, min(len(living), 3))
            targets.close([target for target in living if target not in chosen])
            lost += len(targets.strike(run, chosen))
        coordinator.ask("wait", agents=agents)
        exits = [body["exit"] for body in run.bodies("ZOMBIE_REAPED")]
        coordinator.close()
        run.judge()
    known = sum(1 for told in exits if told["kind"] == "code" and told["code"] == 7)
    tally("4 shim killed under a watching coordinator", runs=lost, exits_known=known)
    assert lost > 0  # how many depends on how fast they are found
    assert known == len(exits)
