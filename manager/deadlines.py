"""How long to wait until a recorded deadline: by the wall clock, which may have been set since, but never longer than
the wait was from its beginning. Within one coordinator waits go by the monotonic clock. Pure: times are microseconds.

A clock that was set forward while no coordinator was there ends a wait early; nothing recorded can tell.
"""

from __future__ import annotations

from eventstore.state import AgentState, Stop, Waiting


def until_next_stage(stop: Stop, now: int) -> float:
    """Seconds until the present stage of a stop has had its time; 0 for one whose last wait has passed."""
    if stop.stage > len(stop.grace_seconds):
        return 0.0
    return _left(stop.deadline_at or 0, now, stop.grace_seconds[max(0, stop.stage - 1)])


def until_next_attempt(state: AgentState, now: int) -> float:
    """Seconds until the attempt that an agent waits for is due."""
    assert isinstance(state.phase, Waiting)
    return _left(state.phase.due_at, now, max(0, state.phase.due_at - state.since_at) / 1e6)


def until_start_window_passes(state: AgentState, started_at: int, now: int) -> float:
    """Seconds until an attempt that was started then has outlived its start window."""
    window = state.spec.start_window_seconds
    return _left(started_at + round(window * 1e6), now, window)


def until_wall_limit(limit_seconds: float, started_at: int, now: int) -> float:
    """Seconds until an attempt that was started then has run for as long as it may."""
    return _left(started_at + round(limit_seconds * 1e6), now, limit_seconds)


def _left(deadline_at: int, now: int, whole_seconds: float) -> float:
    return min(max(0.0, (deadline_at - now) / 1e6), whole_seconds)
