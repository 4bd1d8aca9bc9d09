"""Hostile trees: whatever an agent does to hide or multiply, a kill leaves nothing of it; its end is told once."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from manager.process import procfs
from tests.faults.hostile import BEHAVIOURS, BOMB_SIZE
from tests.faults.run import Run
from tests.faults.sweeps import sweep
from tests.support.groups import Group, group
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

HOSTILE = Path(__file__).with_name("hostile.py")
SIZES = {
    "daemons": 6,
    "erased": 6,
    "overwritten": 2,
    "other_user": 2,
    "adopting": 6,
    "tracing": 2,
    "bomb": 50,
}
GONE_SECONDS = 20.0  # 2 are promised on a quiet machine; how long it took is counted
HIDDEN = (
    "erased",
    "overwritten",
)  # of which nothing can be found once their shim and the first process are gone

pytestmark = pytest.mark.root


@pytest.fixture
def observed() -> Iterator[Group]:
    """Where an agent's whole tree is seen from outside, and bombs are kept to a size."""
    with group("pids") as made:
        made["pids.max"] = BOMB_SIZE
        yield made


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_kill_leaves_nothing_of_a_hostile_tree(
    tmp_path: Path, tally: Tally, observed: Group, behaviour: str
) -> None:
    """The whole tree is gone within seconds, KILLED and signal 9 are recorded once."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            [agent] = coordinator.spawn(_spec(run, observed, behaviour))
            _let_it_grow(run, observed, behaviour)
            began = time.monotonic()
            kill = coordinator.send("kill", agents=[agent])
            eventually(lambda: not _living(observed), "all of it is gone", GONE_SECONDS)
            took = time.monotonic() - began
            assert coordinator.answer(kill)["answer"] == "ack"
        _is_killed_once(run, agent)
        run.judge()
        tally("21 hostile tree killed", gone_in_2_s=int(took < 2))


@pytest.mark.parametrize("behaviour", ["daemons", "bomb"])
def test_a_stop_leaves_nothing_of_a_hostile_tree(
    tmp_path: Path, tally: Tally, observed: Group, behaviour: str
) -> None:
    """The same by a stop with its three stages, which all of them ignore but the last."""
    with Run.create(tmp_path, seed=2) as run:
        with run.coordinator() as coordinator:
            [agent] = coordinator.spawn(_spec(run, observed, behaviour))
            _let_it_grow(run, observed, behaviour)
            coordinator.ask("stop", agents=[agent])
        eventually(lambda: not _living(observed), "all of it is gone", GONE_SECONDS)
        _is_killed_once(run, agent)
        run.judge()
        tally("21 hostile tree stopped")


@pytest.mark.parametrize(
    ("behaviour", "has_group"),
    sweep([("erased", False), ("erased", True), ("bomb", False)], product(BEHAVIOURS, (False, True))),
)
def test_a_shim_killed_meanwhile_leaves_what_can_be_found_to_the_coordinator(
    tmp_path: Path, tally: Tally, observed: Group, behaviour: str, has_group: bool
) -> None:
    """Without the shim all that can be found is killed, and nobody says of a tree that hides that it is gone."""
    with Run.create(tmp_path, seed=3) as run:
        with run.coordinator() as coordinator:
            [agent] = coordinator.spawn(_spec(run, observed, behaviour, cgroup=has_group))
            _let_it_grow(run, observed, behaviour)
            main = int(run.told_by_agents()[0][3])
            stat = procfs.read_stat(main)
            assert stat is not None
            run.kill("shim", stat.parent, agent=agent)
            coordinator.ask("kill", agents=[agent])
            assert not runs(main)
        with run.manager() as manager:
            told = {event.type: event.as_json()["data"] for event in manager.events(agent=agent)}
        reaped, own_group = told["ZOMBIE_REAPED"], told["STARTED"]["process"]["cgroup"]
        if behaviour not in HIDDEN or own_group is not None:
            eventually(lambda: not _living(observed), "all that can be found is gone", GONE_SECONDS)
        assert not (reaped["is_tree_complete"] and _living(observed))
        for pid in _living(observed):
            run.kill("agent", pid, agent=agent)
        run.judge()
        tally("21 hostile tree killed, its shim killed before")


def _spec(run: Run, observed: Group, behaviour: str, **more: object) -> dict[str, object]:
    program = [*observed.within, sys.executable, "-I", "-S", str(HOSTILE), str(run.ledger), behaviour]
    return {**run.agent(), "command": program, **more}


def _let_it_grow(run: Run, observed: Group, behaviour: str) -> None:
    eventually(run.told_by_agents, "it has started")
    eventually(lambda: len(_living(observed)) >= SIZES.get(behaviour, 1), f"{behaviour} has grown")


def _living(observed: Group) -> list[int]:
    return [pid for pid in observed.pids if runs(pid)]


def _is_killed_once(run: Run, agent: str) -> None:
    with run.manager() as manager:
        events = [event.as_json() for event in manager.events(agent=agent)]
        status = manager.status(agent)
    types = [event["type"] for event in events]
    assert types.count("ZOMBIE_REAPED") == 1
    assert status.state == "KILLED", types
    assert status.exit is not None
    assert status.exit.signal == signal.SIGKILL
