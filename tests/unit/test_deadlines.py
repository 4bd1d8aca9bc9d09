"""Deadlines in the log are times of a clock that may be set: a wait that is taken over is never longer than it was."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from eventstore.state import Live, Stop
from manager.deadlines import (
    until_next_attempt,
    until_next_stage,
    until_start_window_passes,
    until_wall_limit,
)
from tests.support.states import SECOND, STATES, T0

ANY_TIME = st.integers(0, 4 * T0)


def _stop(name: str) -> Stop:
    state = STATES[name]
    assert state is not None
    assert isinstance(state.phase, Live)
    assert state.phase.stop is not None
    return state.phase.stop


def test_a_wait_goes_on_where_it_was() -> None:
    """As long as nobody sets the clock, what is left is what was asked for less what has passed."""
    waiting, starting = STATES["waiting"], STATES["starting"]
    assert waiting is not None
    assert starting is not None
    assert until_next_stage(_stop("stopping 1"), T0 + 3 * SECOND) == 7.0
    assert until_next_stage(_stop("stopping 3"), T0 + 7 * SECOND) == 3.0
    assert until_next_attempt(waiting, T0 + 3 * SECOND) == 1.0
    assert until_start_window_passes(starting, T0, T0) == starting.spec.start_window_seconds
    assert until_wall_limit(30.0, T0, T0 + 12 * SECOND) == 18.0


def test_a_stop_whose_waits_have_all_passed_waits_for_nothing() -> None:
    """A recovery that met one after a full disk ended with an IndexError."""
    stop = replace(_stop("stopping 1"), stage=4)
    assert until_next_stage(stop, T0) == 0.0


@given(now=ANY_TIME)
def test_a_wait_is_never_longer_than_it_was_nor_negative(now: int) -> None:
    """Whatever the clock says by then."""
    waiting, starting = STATES["waiting"], STATES["starting"]
    assert waiting is not None
    assert starting is not None
    assert 0 <= until_next_stage(_stop("stopping 1"), now) <= 10.0
    assert 0 <= until_next_stage(_stop("stopping 2"), now) <= 5.0
    assert until_next_stage(_stop("asked to stop"), now) == 0.0
    assert 0 <= until_next_attempt(waiting, now) <= 4.0
    assert 0 <= until_start_window_passes(starting, T0, now) <= starting.spec.start_window_seconds
