"""What an attempt's end means: its outcome, and whether another attempt follows. Pure, like `manager.decide`."""

from __future__ import annotations

from typing import Literal

from eventstore import events as ev
from eventstore.errors import InvalidRequest
from eventstore.state import AgentState, Ended, State
from eventstore.values import ExitedBySignal, ExitedWithCode, ExitUnknown, StoredText
from manager.commands import StopCause
from manager.restart import GiveUp, after
from projections.quantities import counted

MICROSECONDS = 1_000_000
SIGKILL = 9
RULES = ("limit", "health")  # causes of stops that no person orders


def judge(
    state: AgentState, ended: Ended, last_output: StoredText | None = None, *, oom_killed: bool | None = None
) -> ev.AgentEvent:
    """The outcome of an attempt whose exit is recorded. The first row that fits decides:

    exit unknown                                            LOST
    stopped by a limit or for its health                    FAILED
    stopped, ended by our SIGKILL (or its tree was)         KILLED
    stopped                                                 CANCELLED
    one of its success codes                                COMPLETED
    ended inside its start window                           FAILED (failed start)
    killed by the kernel for want of memory                 FAILED (oom)
    any other end                                           FAILED

    Raises `InvalidRequest` where no exit is recorded.
    """
    attempt, exit_, stop = state.attempt, ended.exit, ended.stop
    if exit_ is None:
        raise InvalidRequest(f"cannot judge attempt {attempt} of {state.name}: its exit is not recorded")
    if isinstance(exit_, ExitUnknown):
        return ev.AgentLost(attempt=attempt, reason=exit_.reason)
    if stop is not None and stop.cause in RULES:
        return _failed(attempt, stop.cause, stop.reason or f"stopped by its {stop.cause} rule", last_output)
    if stop is not None:
        by_kill = isinstance(exit_, ExitedBySignal) and exit_.signal == SIGKILL
        if stop.is_kill_sent and (by_kill or state.spec.until == "tree"):
            return ev.AgentKilled(attempt=attempt)
        return ev.AgentCancelled(attempt=attempt)
    if isinstance(exit_, ExitedWithCode) and exit_.code in state.spec.success_codes:
        return ev.AgentCompleted(attempt=attempt)
    how = f"signal {exit_.signal}" if isinstance(exit_, ExitedBySignal) else f"exit code {exit_.code}"
    if ended.running_at is None:
        window = state.spec.start_window_seconds
        return _failed(
            attempt, "failed start", f"ended with {how} inside its start window of {window:g} s", last_output
        )
    if oom_killed and isinstance(exit_, ExitedBySignal) and exit_.signal == SIGKILL:
        return _failed(
            attempt, "oom", f"ended with {how}, sent by the kernel for want of memory", last_output
        )
    return _failed(
        attempt, "signal" if isinstance(exit_, ExitedBySignal) else "exit", f"ended with {how}", last_output
    )


def _failed(attempt: int, cause: str, message: str, last_output: StoredText | None) -> ev.AgentFailed:
    return ev.AgentFailed(
        attempt=attempt,
        cause=cause,  # type: ignore[arg-type]  # the callers pass literals
        message=message,
        phase=None,
        errno=None,
        last_output=last_output,
    )


def wants(cause: StopCause) -> Literal["another", "none", "as by its policy"]:
    """Which attempt is to follow a stop, as far as its cause tells."""
    if cause == "restart":
        return "another"
    return "as by its policy" if cause in RULES else "none"


def what_follows(state: AgentState, now: int, ran_seconds: float | None = None) -> list[ev.AgentEvent]:
    """Another attempt or none, after an outcome; the rules are those of `manager.restart`.

    `ran_seconds` None: as the wall clock has it, which may have been set meanwhile.
    """
    ended = state.phase
    if not isinstance(ended, Ended) or ended.outcome is None:
        return []
    wanted = None if ended.stop is None else wants(ended.stop.last_cause)
    if ended.stop is not None and wanted == "another":
        reason = ended.stop.reason if ended.stop.cause == "restart" else None  # else it is the rule's
        return [scheduled(state, now, 0.0, state.restarts_used, reason or "restart requested")]
    ran = ran_seconds
    if ran is None:
        ran = 0.0 if ended.started_at is None else max(0, ended.ended_at - ended.started_at) / MICROSECONDS
    if wanted == "none":
        return []  # somebody wanted it gone, whatever it took
    match after(state.spec.restart, ended.outcome, used=state.restarts_used, ran_seconds=ran):
        case None:
            return []
        case GiveUp(used=used):
            if ended.outcome is State.COMPLETED:
                return []
            return [
                ev.RestartGivenUp(
                    attempt=state.attempt, used=used, reason=f"{counted(used, 'restart')} used up"
                )
            ]
        case step:
            return [scheduled(state, now, step.delay_seconds, step.used, f"policy after {ended.outcome}")]


def scheduled(state: AgentState, now: int, delay: float, used: int, reason: str) -> ev.RestartScheduled:
    """Another attempt of the agent, `delay` seconds from `now`."""
    return ev.RestartScheduled(
        attempt=state.attempt,
        next_attempt=state.attempt + 1,
        delay_seconds=delay,
        due_at=later(now, delay),
        used=used,
        reason=reason,
    )


def later(now: int, seconds: float) -> int:
    """The instant `seconds` after `now`, in microseconds."""
    return now + round(seconds * MICROSECONDS)
