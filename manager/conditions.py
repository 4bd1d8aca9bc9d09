"""What callers wait for: conditions of one agent's state."""

from __future__ import annotations

from eventstore.state import AgentState, Live, Requested, State, Waiting
from eventstore.values import ExitUnknown


def is_known(state: AgentState) -> bool:
    """Whether there is a process, or certainly none."""
    return not isinstance(state.phase, Requested)


def is_verified(state: AgentState) -> bool:
    """Whether the start window is over, one way or the other."""
    return state.state is not State.SPAWNING


def is_over(state: AgentState) -> bool:
    """Whether it has ended with no further attempt to come."""
    return state.is_final


def is_stuck(state: AgentState) -> bool:
    """Whether the last deadline of a stop has passed in vain."""
    return isinstance(state.phase, Live) and state.phase.stop is not None and state.phase.stop.stage == 4


def is_stopped_or_stuck(state: AgentState) -> bool:
    """Whether a stop has come to an end."""
    return state.is_final or isinstance(state.phase, Waiting) or is_stuck(state)


def has_known_exit(state: AgentState) -> bool:
    """Whether the last attempt has ended and somebody saw how."""
    phase = state.phase.last if isinstance(state.phase, Waiting) else state.phase
    exit_ = getattr(phase, "exit", None)
    return exit_ is not None and not isinstance(exit_, ExitUnknown)
