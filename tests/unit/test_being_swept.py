"""Between the exit record and the word of what was left over, its shim is at work: the end is not recorded yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from manager.process import sweep
from manager.recovery import SWEEP_SECONDS, conclude
from tests.support.states import SECOND, STATES
from tests.unit.test_recovery import EXIT, KNOWN, NOW

SWEPT_NOW = replace(EXIT, ended_at=NOW - SECOND, leftovers=None)
SOON = replace(KNOWN, exit=SWEPT_NOW, is_shim_alive=True)
HANGS = replace(SOON, exit=replace(SWEPT_NOW, ended_at=NOW - round(SWEEP_SECONDS * SECOND)))
CLOCK_SET_BACK = replace(SOON, exit=replace(SWEPT_NOW, ended_at=NOW + SECOND))
SWEPT = replace(SOON, exit=replace(SWEPT_NOW, leftovers=(4712,)))


@pytest.mark.parametrize("believed", [STATES["requested"], STATES["running"]], ids=["starting", "running"])
def test_an_end_was_recorded_before_its_shim_had_swept(believed: Any) -> None:
    """And the log said for ever that nobody knew what was left over."""
    found = conclude(believed, SOON, unwatched_seconds=0.0)
    assert (found.commands, found.watch, found.counts_as) == ((), True, "pending")


@pytest.mark.parametrize(
    "observed",
    [HANGS, CLOCK_SET_BACK, SWEPT, replace(SOON, is_shim_alive=False)],
    ids=["its shim hangs", "a clock was set back", "swept", "its shim is lost"],
)
def test_nobody_is_awaited_who_will_not_say(observed: Any) -> None:
    """Then the exit is recorded, with what is known."""
    believed: Any = STATES["running"]
    found = conclude(believed, observed, unwatched_seconds=0.0)
    assert ([type(one).__name__ for one in found.commands], found.counts_as) == (["ObserveExit"], "ended")


def test_a_shim_is_awaited_as_long_as_it_may_sweep() -> None:
    """A pure module cannot ask the shim's: it has the number again."""
    assert SWEEP_SECONDS == sweep.SECONDS
