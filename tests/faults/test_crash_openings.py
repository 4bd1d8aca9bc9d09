"""kill -9 of whoever opens a home in which something has to be put right first: a coordinator, or a command.

Each situation is gone through once for each of its points, in one home.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.commands import command_dies
from tests.faults.crashes import (
    Crash,
    Crashes,
    coordinator_dies,
    kill_agent_without_its_shim,
    settles_for_good,
    wait_for,
)
from tests.faults.run import Run
from tests.faults.test_crash_points import ROW
from tests.support.processes import eventually
from tests.support.tally import Tally


def after_a_death_before_the_launch(run: Run, crashes: Crashes) -> None:
    """The one before died between the intent and the first step of the launch."""
    settles_for_good(run)  # so that no restart is due, whose directory is half there
    coordinator_dies(run, crashes, Crash("coordinator.before_agent_directory"))


def after_the_deaths_of_coordinator_and_shim(run: Run, crashes: Crashes) -> None:
    """The one before died with its request sent, and the shim died with the lock in its hand."""
    settles_for_good(run)
    shim = Crash("shim.after_lock_file")
    stop, stopped = crashes.stop_at(Crash("coordinator.after_send"))
    with run.coordinator(variables=crashes.variables(shim, OUTLIVE_STOP=stop)) as coordinator:
        coordinator.send("spawn", items=[{"name": f"keeper-{crashes.fresh()}", "spec": run.agent()}])
        wait_for(stopped)
        eventually(lambda: crashes.struck(shim), "the shim dies")
        coordinator.kill()


def after_an_end_that_nobody_saw(run: Run, crashes: Crashes) -> None:
    """Coordinator and shims were killed, then the agent ended, and its child and cgroup are still there."""
    with run.coordinator(variables=crashes.variables()) as coordinator:
        spec = run.agent("--fork", "1", cgroup=True)
        [agent] = coordinator.spawn(spec, names=[f"litters-{crashes.fresh()}"])
        coordinator.kill()
    pid = kill_agent_without_its_shim(run, agent)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "init has reaped it")


def after_a_change_of_mode(run: Run, crashes: Crashes) -> None:
    """Somebody has opened the lock file's mode."""
    (run.home / "events.db.lock").chmod(0o644)


def of_an_earlier_release(run: Run, crashes: Crashes) -> None:
    """The home is from before heads were kept outside of the database."""
    identity = json.loads((run.home / "home.json").read_text())
    identity.pop("head", None)
    (run.home / "home.json").write_text(json.dumps(identity))
    (run.home / "head").unlink(missing_ok=True)


def after_a_death_in_its_creation(run: Run, crashes: Crashes) -> None:
    """Whoever made the database was killed before it used a WAL."""
    (run.home / "events.db-journal").touch(0o600)


Opening = Callable[[Run, Crashes], None]
OPENINGS: dict[Opening, str] = {
    after_a_death_before_the_launch: """
        coordinator.before_claim coordinator.before_claim_parent coordinator.after_claim_parent coordinator.after_claim
    """,
    after_the_deaths_of_coordinator_and_shim: """
        coordinator.before_claim_lock coordinator.after_claim_lock_file coordinator.after_claim_lock
        coordinator.after_claim_file coordinator.after_claim_tidied
    """,
    after_an_end_that_nobody_saw: """
        coordinator.before_leftover_kill coordinator.after_leftover_kill coordinator.after_leftover_group_kill
        coordinator.before_group_removal coordinator.after_group_removal
    """,
    after_a_change_of_mode: "store.after_lock_file_mode",
    of_an_earlier_release: "coordinator.before_home_identity_renewed coordinator.after_home_identity_renewed",
    after_a_death_in_its_creation: "store.before_rollback_of_creation store.after_rollback_of_creation",
}


@pytest.mark.parametrize(
    ("opening", "dies"),
    [
        # An orphan's end waits for init. While it is watched, it is in tests/faults/test_crash_situations.py.
        pytest.param(
            opening,
            dies,
            marks=[pytest.mark.faults]
            * (dies is coordinator_dies and opening is after_an_end_that_nobody_saw),
        )
        for opening in OPENINGS
        for dies in (coordinator_dies, command_dies)
    ],
    ids=lambda value: value.__name__,
)
def test_killed_while_it_puts_something_right(
    tmp_path: Path, tally: Tally, opening: Opening, dies: Callable[[Run, Crashes, Crash], None]
) -> None:
    """The next one puts it right, once."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        coordinator_dies(run, crashes, Crash("coordinator.after_kill"))
        for point in OPENINGS[opening].split():
            opening(run, crashes)
            dies(run, crashes, Crash(point))
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)
