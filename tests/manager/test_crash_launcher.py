"""kill -9 of launchers, shims and their children at every step, alone and all together."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from eventstore.crashpoints import POINTS
from manager.process import procfs
from manager.process.attempt_dir import read_record
from tests.support import story
from tests.support.processes import eventually, runs
from tests.support.promises import check_promises, ledger, tell, witness_of

# With until=tree alone there is a record of the first process's end apart from the tree's.
_OF_A_TREE = ("shim.before_main_record", "shim.after_main_record")
_SHIM_CASES = [
    pytest.param(
        point, hit, marks=() if hit != 1 or "exit" in point or "child" in point else pytest.mark.storm
    )
    for point in sorted(POINTS)
    if point.startswith(("shim.", "child."))
    for hit in ((1 + story.NAMES.index(story.DAEMON),) if point in _OF_A_TREE else (1, 2))
]
_LAUNCHER_CASES = [
    (point, hit)
    for point in sorted(POINTS)
    if point.startswith("launcher.")
    for hit in ((1,) if point == "launcher.started" else (1, 2))
]


@pytest.mark.parametrize(("point", "hit"), _SHIM_CASES)
def test_a_shim_or_child_killed_at_any_step(home: Path, point: str, hit: int) -> None:
    """One agent's shim dies: its own end may be unknown, with the reason; all others are recorded exactly."""
    told = tell(home, "start", "stop", crash=f"{point}:{hit}")
    _, said = told.communicate(timeout=story.WAIT_SECONDS)
    assert told.returncode == 0, said.decode()
    assert witness_of(home).exists(), f"{point} was not reached for shim {hit}"
    check_promises(home, shims_lost={story.NAMES[hit - 1]} if point.startswith("shim.") else ())


@pytest.mark.parametrize(("point", "hit"), _LAUNCHER_CASES)
def test_a_launcher_killed_at_any_step(home: Path, point: str, hit: int) -> None:
    """A launcher that dies starts each attempt once or never, loses no exit, and is replaced by the next start."""
    told = tell(home, "single", "stop", crash=f"{point}:{hit}")
    _, said = told.communicate(timeout=story.WAIT_SECONDS)
    assert told.returncode == 0, said.decode()
    assert witness_of(home).exists(), f"{point} was not reached a {hit}. time"
    agents = check_promises(home)
    assert len(agents) == len(story.NAMES)
    if hit == 2:  # the launcher after the killed one lives long enough for one agent at least
        assert agents[2].message is None or "launch" not in agents[2].message


@pytest.mark.parametrize(
    "parts",
    ["coordinator", "launcher", "shims", "coordinator+launcher+shims"],
)
def test_killed_at_rest(home: Path, parts: str) -> None:
    """Whichever of our own processes are killed while agents run: the agents run on and are found again."""
    told = tell(home, "start", "rest")
    eventually(home.with_name("home.rests").exists, "the story's agents run")
    before = _alive(home)
    _kill(parts, home, told.pid)
    assert len(set(before) & set(_alive(home))) >= 3, "agents died with us"
    told.kill()
    told.communicate(timeout=story.WAIT_SECONDS)
    agents = check_promises(home, shims_lost=story.NAMES if "shims" in parts else ())
    assert {agent.name for agent in agents if not agent.is_final} >= {
        story.KEEPER,
        story.SLEEPER,
        story.FAMILY,
    }


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(n, marks=pytest.mark.storm) for n in range(3, 30))])
@pytest.mark.parametrize("parts", ["launcher", "shims", "coordinator+launcher+shims"])
def test_killed_at_a_random_time(home: Path, parts: str, seed: int) -> None:
    """At any time of a spawn or a stop: nothing is started twice, nothing is guessed, nothing is left behind."""
    told = tell(home, "start", "stop", "rest")
    eventually(lambda: list(home.glob("agents/*/*/spec.json")) or told.poll() is not None, "a start begins")
    time.sleep(random.Random(f"{seed} {parts}").uniform(0, 1.2))  # the fault's time, not a wait for anything
    _kill(parts, home, told.pid)
    time.sleep(0.2 if "coordinator" not in parts else 0)  # for a living coordinator to see and act on it
    told.kill()
    told.communicate(timeout=story.WAIT_SECONDS)
    check_promises(home, shims_lost=story.NAMES if "shims" in parts else ())


def _kill(parts: str, home: Path, coordinator: int) -> None:
    """SIGKILL at once to the processes of ours that `parts` names."""
    records = [read_record(str(path)) for path in home.glob("agents/*/*/identity.json")]
    shims = {record["shim_pid"] for record in records if isinstance(record, dict)}
    stats = [procfs.read_stat(pid) for pid in shims]
    launchers = {stat.parent for stat in stats if stat is not None} - {1, os.getpid()}
    targets = {"coordinator": {coordinator}, "launcher": launchers, "shims": shims}
    for part in parts.split("+"):
        for pid in targets[part]:
            stat = procfs.read_stat(pid)
            if part == "coordinator" or (stat is not None and stat.comm.startswith("outlive-")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _alive(home: Path) -> list[int]:
    return [told.pid for told in ledger(home) if runs(told.pid)]
