"""kill -9 of a coordinator at every named point of its life, one after the other in one home.

Each coordinator finds what a killed one left, so that most of these crashes happen during or after the recovery from
another crash. The exhaustive half tries every point alone: at its first three hits and in every order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.crashpoints import POINTS
from tests.faults.crashes import Crash, Crashes, chain, live, obey_life, orders, settles_for_good
from tests.faults.run import Run
from tests.support.tally import Tally

ROW = "1 coordinator killed at every crash point"
# In the order in which each of them makes the next one possible.
BEGINNINGS = (
    (
        "coordinator.before_home_parents",
        "coordinator.after_home_parents",
        "coordinator.after_home",
        "store.before_head_draft",
        "store.after_old_head_draft",
        "store.after_head_draft",
        "store.after_head_draft_mode",
        "store.after_head_draft_written",
        "store.after_head_draft_synced",
        "store.before_head_named",
        "store.after_head_named",
        "store.after_head_draft_removed",
        "store.before_head_directory",
        "store.after_head_directory",
        "coordinator.before_home_draft",
        "coordinator.after_home_draft",
        "coordinator.after_home_draft_written",
        "coordinator.after_home_draft_synced",
        "coordinator.before_home_identity",
        "coordinator.after_home_identity",
        "coordinator.before_old_draft",
        "coordinator.after_old_draft",
        "store.before_database_file",
        "store.after_database_file",
        "store.before_creation",
        "store.before_migration",
        "store.after_migration",
        "store.after_creation",
    ),
    ("coordinator.after_home_draft_removed", "store.after_database_mode"),
    ("store.after_database_directory",),
    (  # a socket is left by one that listened
        "coordinator.after_listen",
        "coordinator.before_old_control_socket",
        "coordinator.after_old_control_socket",
    ),
    ("store.before_checkpoint_directory",),  # once in a home
    ("store.after_checkpoint_directory",),
)
# Each needs a situation of its own: tests/faults/test_crash_situations.py.
SPECIAL = {
    *("coordinator.before_takeover", "coordinator.after_takeover"),
    *("coordinator.before_leftover_kill", "coordinator.after_leftover_kill"),
    *("coordinator.after_leftover_group_kill", "coordinator.before_group_removal"),
    *("coordinator.after_group_removal", "coordinator.after_hanging_up"),
    *("coordinator.before_accept", "coordinator.after_accept", "coordinator.before_reply", "coordinator.after_reply"),
    *("coordinator.before_refusal", "coordinator.after_refusal"),
    *("coordinator.before_claim", "coordinator.after_claim"),
    *("coordinator.before_claim_parent", "coordinator.after_claim_parent", "coordinator.before_claim_lock"),
    *("coordinator.after_claim_lock_file", "coordinator.after_claim_lock", "coordinator.after_claim_file"),
    "coordinator.after_claim_tidied",
    *("coordinator.before_home_identity_renewed", "coordinator.after_home_identity_renewed"),
    *("coordinator.before_output_erased", "coordinator.after_output_erased"),
    *("coordinator.before_stop_mark", "coordinator.after_stop_mark"),
    *("coordinator.before_stop_mark_removed", "coordinator.after_stop_mark_removed"),
    *("store.before_scrub", "store.after_scrub"),
    *("store.before_rollback", "store.after_rollback", "store.after_lock_file_mode"),
    *("store.before_rollback_of_creation", "store.after_rollback_of_creation"),
}  # fmt: skip
OURS = sorted(point for point in POINTS if point.startswith(("coordinator.", "store.")))
ORDINARY = [point for point in OURS if point not in SPECIAL and not any(point in some for some in BEGINNINGS)]
LENGTH = 8
COUNT = -(-len(ORDINARY) // LENGTH)
CHAINS = [
    (*(BEGINNINGS[number] if number < len(BEGINNINGS) else ()), *ORDINARY[number::COUNT])
    for number in range(COUNT)
]
HITS = (1, 2, 3)


def test_every_point_of_a_coordinator_is_in_a_chain_or_has_its_situation() -> None:
    """A new point is tried from its first day."""
    assert {point for some in CHAINS for point in some} | SPECIAL == set(OURS)


@pytest.mark.parametrize("points", CHAINS, ids=lambda points: f"{points[-1]} and {len(points) - 1} before")
def test_killed_at_one_point_after_the_other(tmp_path: Path, tally: Tally, points: tuple[str, ...]) -> None:
    """Wherever a coordinator dies, the next one knows what became of every agent, and starts none twice."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        chain(run, crashes, [[Crash(point)] for point in points])
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", ORDINARY)
def test_killed_at_a_point_again_and_again(tmp_path: Path, tally: Tally, point: str) -> None:
    """At its first hits in a life, and at the first one in each order of a life: the same holds."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        for hit in HITS:
            live(run, crashes.fresh(), crashes.variables(Crash(point, hit)))
            crashes.struck(Crash(point, hit))
        for number in range(len(list(orders(run, 0)))):
            life = crashes.fresh()
            armed = {"ask": "arm", "crashes": crashes.variables(Crash(point))["OUTLIVE_CRASH"]}
            wanted = list(orders(run, life))
            obey_life(run, [*wanted[:number], armed, *wanted[number:]])
            crashes.struck(Crash(point))
        assert crashes.count
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)
