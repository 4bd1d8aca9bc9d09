"""kill -9 of a launcher, a shim or a child at every named point, under a coordinator that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.crashpoints import POINTS
from tests.faults.crashes import KINDS, Crash, Crashes, chain, live, settles_for_good
from tests.faults.run import Run
from tests.support.tally import Tally

ROW = "4 launcher/shim killed at every crash point"
# The kind of agent whose shim comes by; the others are passed by the shim of any agent.
OF_KIND = {
    "tidy": """
        shim.before_group shim.after_group child.before_group child.after_group
        shim.before_empty_group_removal shim.after_empty_group_removal
    """,
    "litters": """
        shim.before_group_kill shim.after_group_kill shim.before_group_removal shim.after_group_removal
        shim.before_kill shim.after_kill shim.before_leftover_reap shim.after_leftover_reap
    """,
    "tree": """
        shim.before_main_record shim.after_main_record shim.after_main_reap
        shim.before_orphan_reap shim.after_orphan_reap
    """,
    "missing": "child.before_report child.after_report",
}
KIND = {point: kind for kind, points in OF_KIND.items() for point in points.split()}
# Each needs a situation of its own: tests/faults/test_crash_situations.py.
SPECIAL = {
    *("shim.before_refusal", "shim.after_child_turned_away", "shim.after_refusal"),
    *("shim.before_refused_group_removal", "shim.before_stale_record_removed", "shim.after_stale_record_removed"),
    *("shim.before_session_kill", "shim.after_session_kill"),
}  # fmt: skip
OURS = sorted(point for point in POINTS if point.startswith(("launcher.", "shim.", "child.")))
ORDINARY = [point for point in OURS if point not in SPECIAL]
LAUNCHERS = [point for point in ORDINARY if point.startswith("launcher.")]


def crash_at(point: str, kind: str, hit: int = 1) -> Crash:
    """A crash in the shim of this kind of agent in a life, or (for a launcher's point) of its launcher."""
    return Crash(point, hit) if point in LAUNCHERS else Crash(point, 1 + KINDS.index(kind), hit)


def lives() -> list[list[Crash]]:
    """Every ordinary point once, as many as there are kinds in each life: each in the shim of another agent."""
    waiting: dict[str, list[str]] = {kind: [point for point in KIND if KIND[point] == kind] for kind in KINDS}
    for point in ORDINARY:
        if point not in KIND and point not in LAUNCHERS:
            min(waiting.values(), key=len).append(point)
    groups = [[Crash(point)] for point in LAUNCHERS]
    while any(waiting.values()):
        groups.append([crash_at(points.pop(), kind) for kind, points in waiting.items() if points])
    return groups


LIVES = lives()
PARTS = 4


def test_every_point_of_a_helper_is_in_a_life_or_has_its_situation() -> None:
    """A new point is tried from its first day."""
    assert {crash.point for life in LIVES for crash in life} | SPECIAL == set(OURS)


@pytest.mark.parametrize("part", range(PARTS))
def test_helpers_killed_at_every_point(tmp_path: Path, tally: Tally, part: int) -> None:
    """Its own agent's end may be unknown, with the reason; every other start and end is recorded as it was."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        chain(run, crashes, LIVES[part::PARTS])
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", ORDINARY)
def test_helpers_killed_at_a_point_in_every_kind_of_agent(tmp_path: Path, tally: Tally, point: str) -> None:
    """The same for each kind of agent, each time that its shim comes by."""
    kinds = KINDS[:1] if point in LAUNCHERS else KINDS
    for kind in kinds:
        with Run.create(tmp_path, seed=1) as run:
            crashes = Crashes(run)
            for hit in range(1, 7):  # five records, at the most
                crash = crash_at(point, kind, hit)
                assert live(run, hit, crashes.variables(crash)), f"the coordinator died with {crash}"
                if not crashes.struck(crash):
                    break
            settles_for_good(run)
            run.judge()
            tally(ROW, runs=crashes.count)
