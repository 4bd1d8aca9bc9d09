"""One of ours dies at a named point, and all the others of ours with it: agents alone are left."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import test_crash_points as coordinators
from tests.faults import test_crash_points_helpers as helpers
from tests.faults.crashes import Crash, Crashes, kill_ours, orders, settles_for_good
from tests.faults.driven import CoordinatorGone, Driven
from tests.faults.run import Run
from tests.support.tally import Tally

ROW = "5 all of ours together at every crash point"
EVERY = [
    *(Crash(point) for point in coordinators.ORDINARY),  # before them there is nobody else of ours
    *(crash for life in helpers.LIVES for crash in life),
]
SAMPLE = EVERY[::6]
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_together(tmp_path: Path, tally: Tally, part: int) -> None:
    """The next coordinator finds the agents that run, and says of the others what is known."""
    _kill_together(tmp_path, tally, SAMPLE[part::PARTS])


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(-(-len(EVERY) // 8)))
def test_killed_together_at_every_point(tmp_path: Path, tally: Tally, part: int) -> None:
    """The same at all of the points, eight in a home."""
    _kill_together(tmp_path, tally, EVERY[8 * part : 8 * part + 8])


def _kill_together(tmp_path: Path, tally: Tally, group: Sequence[Crash]) -> None:
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        for crash in group:
            all_die(run, crashes, crash)
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)


def all_die(run: Run, crashes: Crashes, crash: Crash) -> None:
    """A life that ends for all of ours when one of them dies at `crash`."""
    settles_for_good(run)  # so that the launcher's shims are those of the life's own agents, in their order
    with contextlib.suppress(CoordinatorGone):
        coordinator = run.coordinator(variables=crashes.variables(crash))
        with coordinator:
            _obey_until_struck(coordinator, orders(run, crashes.fresh()), crashes, crash)
            if crashes.struck(crash):
                coordinator.kill()
            else:
                coordinator.leave()
    kill_ours(run, "launcher", "shim")
    assert crashes.struck(crash), f"{crash} was not reached"


def _obey_until_struck(
    coordinator: Driven, wanted: Iterator[dict[str, Any]], crashes: Crashes, crash: Crash
) -> None:
    for order in wanted:
        number = coordinator.send(**order)
        answers = coordinator.process.stdout
        assert answers is not None
        while not select.select([answers], [], [], 0.005)[0]:
            if crashes.struck(crash):
                return
        coordinator.answer(number)
