"""kill -9 of a shim at the points that need a situation: refused, held up, or without the kernel's help."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crashes import Crash, Crashes, go_on, settles_for_good, wait_for
from tests.faults.driven import CoordinatorGone, Driven
from tests.faults.run import Run
from tests.faults.test_crash_points_helpers import ROW, SPECIAL
from tests.support.processes import eventually, runs
from tests.support.tally import Tally


@contextlib.contextmanager
def held_up(
    run: Run, crashes: Crashes, crash: Crash, at: str, spec: dict[str, Any]
) -> Iterator[tuple[Driven, Path]]:
    """The coordinator of a shim that was stopped at a point, and its attempt's directory; then it goes on and dies."""
    stop, stopped = crashes.stop_at(Crash(at))
    variables = crashes.variables(crash, OUTLIVE_STOP=stop)
    with contextlib.suppress(CoordinatorGone), run.coordinator(variables=variables) as coordinator:
        number = coordinator.send("spawn", items=[{"name": f"keeper-{crashes.fresh()}", "spec": spec}])
        pid, directory = wait_for(stopped)
        run.fault("stop", "shim", agent=directory.split("/")[-2], attempt=1)
        yield coordinator, Path(directory)
        go_on(int(pid))
        eventually(lambda: not runs(int(pid)), f"the shim dies at {crash.point}")
        assert crashes.struck(crash), f"{crash.point} was not reached"
        coordinator.answer(number)


def turned_away_by_a_claim(run: Run, crashes: Crashes, crash: Crash) -> None:
    """It was so late that the next coordinator has claimed its attempt: it runs nothing, however it ends."""
    with held_up(run, crashes, crash, "shim.before_mkdir", run.agent()) as (coordinator, _):
        coordinator.kill()
        with run.coordinator():
            pass


def finding_half_a_record(run: Run, crashes: Crashes, crash: Crash) -> None:
    """An earlier try at the same record has failed: nothing of that is left."""
    with held_up(run, crashes, crash, "shim.after_spec", run.agent()) as (_, directory):
        (directory / "identity.json.tmp").write_text("half")


def refused_with_a_cgroup(run: Run, crashes: Crashes, crash: Crash) -> None:
    """Its record cannot be written when its cgroup has been made."""
    with held_up(run, crashes, crash, "shim.after_group", run.agent(cgroup=True)) as (_, directory):
        (directory / "identity.json.tmp").mkdir()
    (directory / "identity.json.tmp").rmdir()


def ending_a_session(run: Run, crashes: Crashes, crash: Crash) -> None:
    """The kernel gives it no orphans, so that it ends the agent's session and group."""
    variables = crashes.variables(crash, OUTLIVE_DISABLE="subreaper")
    with run.coordinator(variables=variables) as coordinator:
        spec = run.agent("--fork", "1", "--exit-after", "0.1", "--code", "8", start_window_seconds=0.02)
        [agent] = coordinator.spawn(spec)
        coordinator.ask("wait", agents=[agent])
    assert crashes.struck(crash), f"{crash.point} was not reached"


Situation = Callable[[Run, Crashes, Crash], None]
SITUATIONS: dict[Situation, str] = {
    turned_away_by_a_claim: "shim.before_refusal shim.after_child_turned_away shim.after_refusal",
    finding_half_a_record: "shim.before_stale_record_removed shim.after_stale_record_removed",
    refused_with_a_cgroup: "shim.before_refused_group_removal",
    ending_a_session: "shim.before_session_kill shim.after_session_kill",
}


def test_every_special_point_has_its_situation() -> None:
    """None is left out."""
    assert {point for points in SITUATIONS.values() for point in points.split()} == SPECIAL


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_a_shim_killed_in_a_situation(tmp_path: Path, tally: Tally, situation: Situation) -> None:
    """Whatever it was about, its agent is started once or never, and nothing is guessed."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        for point in SITUATIONS[situation].split():
            situation(run, crashes, Crash(point))
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)
