"""What callers wait for: conditions of one agent's state; and what they are told where that cannot be recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eventstore.errors import OutliveError, StoreUnavailable
from eventstore.state import AgentState, Ended, Live, Requested, State, Waiting
from eventstore.values import ExitUnknown
from manager.deadlines import until_next_attempt


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


def is_due(state: AgentState, now: int) -> bool:
    """Whether the time of the attempt that it waits for has come."""
    return isinstance(state.phase, Waiting) and until_next_attempt(state, now) <= 0


def has_known_exit(state: AgentState) -> bool:
    """Whether the last attempt has ended and somebody saw how."""
    phase = state.phase.last if isinstance(state.phase, Waiting) else state.phase
    exit_ = getattr(phase, "exit", None)
    return exit_ is not None and not isinstance(exit_, ExitUnknown)


def fate(state: AgentState) -> str:
    """What became of an agent that was waited for: `NAME was stopped`."""
    phase = state.phase.last if isinstance(state.phase, Waiting) else state.phase
    stop = getattr(phase, "stop", None)
    if stop is not None and (isinstance(phase, Ended) or (stop.stage == 4 and not stop.is_kill_sent)):
        return f"{state.name} was stopped"  # given up before SIGKILL: there was nobody left to send it to
    if stop is not None and stop.stage == 4:
        return f"{state.name} was sent SIGKILL, and its end not confirmed"
    return f"{state.name} has ended" if isinstance(phase, Ended) else f"{state.name} is {state.state}"


@contextmanager
def refused(what: str, instead: str) -> Iterator[None]:
    """An order that the log must hold first is refused where it cannot: `StoreUnavailable` says what came `instead`."""
    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"cannot {what}: cannot {_why(error)}; {instead}: try again when the log can be written"
        ) from error


def unrecorded(what: str, error: OutliveError) -> StoreUnavailable:
    """For whoever asked for what was done while the log could not be written."""
    return StoreUnavailable(
        f"cannot record that {what}: cannot {_why(error)}; it is recorded once the log can be written again"
    )


def _why(error: OutliveError) -> str:
    return str(error).partition(";")[0].removeprefix("cannot ")
