"""The lifecycle of an agent: one table, and the fold that gives the log its meaning.

An agent is one stream. `TRANSITIONS[state][event type]` is the state that follows; what is not in the table is illegal,
and `evolve` refuses it. `evolve` needs nothing but the state, the event and the time at which it occurred, so every
reader of the log (projections, recovery, time travel) reaches the same state.

    SPAWNING -> RUNNING -> (STOPPING ->) EXITED -> COMPLETED | FAILED | CANCELLED | KILLED | LOST
                                                                          -> (BACKOFF -> SPAWNING)

A start that fails before there is a process goes from SPAWNING to FAILED at once. Deadlines and due times are part of
the state, so that whoever folds the log can go on with a half-done stop or back-off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, assert_never

from eventstore import events as ev
from eventstore.errors import IllegalTransition
from eventstore.state import AgentState, Ended, Failure, Live, Phase, Requested, State, Stop, Waiting
from eventstore.values import Health

_S = State
_AFTER_THE_END = {"SPAWNING": _S.SPAWNING, "RESTART_SCHEDULED": _S.BACKOFF}

TRANSITIONS: Mapping[State | None, Mapping[str, State]] = {
    None: {"SPAWNING": _S.SPAWNING},
    _S.SPAWNING: {
        "STARTED": _S.SPAWNING,
        "REATTACHED": _S.SPAWNING,
        "SIGNAL_SENT": _S.SPAWNING,
        "RUNNING": _S.RUNNING,
        "STOP_REQUESTED": _S.STOPPING,
        "ZOMBIE_REAPED": _S.EXITED,
        "FAILED": _S.FAILED,
        "LOST": _S.LOST,
    },
    _S.RUNNING: {
        "HEALTH_CHANGED": _S.RUNNING,
        "REATTACHED": _S.RUNNING,
        "SIGNAL_SENT": _S.RUNNING,
        "STOP_REQUESTED": _S.STOPPING,
        "ZOMBIE_REAPED": _S.EXITED,
    },
    _S.STOPPING: {
        "STOP_REQUESTED": _S.STOPPING,
        "SIGTERM_SENT": _S.STOPPING,
        "SIGKILL_SENT": _S.STOPPING,
        "STOP_TIMED_OUT": _S.STOPPING,
        "HEALTH_CHANGED": _S.STOPPING,
        "REATTACHED": _S.STOPPING,
        "SIGNAL_SENT": _S.STOPPING,
        "ZOMBIE_REAPED": _S.EXITED,
    },
    _S.EXITED: {
        "COMPLETED": _S.COMPLETED,
        "FAILED": _S.FAILED,
        "CANCELLED": _S.CANCELLED,
        "KILLED": _S.KILLED,
        "LOST": _S.LOST,
    },
    _S.COMPLETED: _AFTER_THE_END,
    _S.FAILED: {**_AFTER_THE_END, "RESTART_GIVEN_UP": _S.FAILED},
    _S.CANCELLED: _AFTER_THE_END,
    _S.KILLED: {**_AFTER_THE_END, "RESTART_GIVEN_UP": _S.KILLED},
    _S.LOST: {**_AFTER_THE_END, "RESTART_GIVEN_UP": _S.LOST},
    _S.BACKOFF: {**_AFTER_THE_END, "CANCELLED": _S.CANCELLED},
}


def fold(history: Iterable[tuple[ev.AgentEvent, int]]) -> AgentState | None:
    """The state after (event, occurred_at) pairs in order; None for no events. Raises `IllegalTransition`."""
    state: AgentState | None = None
    for event, at in history:
        state = evolve(state, event, at)
    return state


def evolve(state: AgentState | None, event: ev.AgentEvent, at: int) -> AgentState:
    """The state after `event`, which occurred `at`. Raises `IllegalTransition` for what the table lacks."""
    name = None if state is None else state.state
    target = TRANSITIONS[name].get(event.TYPE)
    if target is None:
        raise IllegalTransition(state=name, event_type=event.TYPE)
    if isinstance(event, ev.AgentSpawning):
        return _spawned(state, event, at)
    assert state is not None  # the table gives None nothing but SPAWNING
    if event.attempt != state.attempt:
        raise IllegalTransition(
            state=name, event_type=event.TYPE, detail=f"attempt {event.attempt} is not current"
        )
    changed = replace(
        state,
        state=target,
        since_at=state.since_at if target == state.state else at,
        version=state.version + 1,
        phase=_next_phase(state.phase, event, at, target),
    )
    if isinstance(event, ev.HealthChanged):
        return replace(changed, health=event.health)
    if isinstance(event, ev.RestartScheduled):
        return replace(changed, restarts_used=event.used)
    return changed


def _spawned(state: AgentState | None, event: ev.AgentSpawning, at: int) -> AgentState:
    if event.attempt != (1 if state is None else state.attempt + 1):
        raise IllegalTransition(
            state=None if state is None else state.state,
            event_type=event.TYPE,
            detail=f"attempt {event.attempt}",
        )
    return AgentState(
        name=event.name,
        spec=event.spec,
        spec_digest=event.spec_digest,
        state=State.SPAWNING,
        since_at=at,
        version=1 if state is None else state.version + 1,
        attempt=event.attempt,
        directory=event.directory,
        boot_id=event.boot_id,
        spawned_at=at if state is None else state.spawned_at,
        requested_at=at,
        health=Health.UNKNOWN,
        restarts_used=0 if state is None else state.restarts_used,
        phase=Requested(),
    )


def _next_phase(phase: Phase, event: ev.AgentEvent, at: int, target: State) -> Phase:
    match event:
        case ev.AgentStarted():
            if not isinstance(phase, Requested):
                raise IllegalTransition(
                    state=phase.kind, event_type=event.TYPE, detail="it was started before"
                )
            return Live(process=event.process, started_at=at)
        case ev.AgentRunning():
            return replace(_live(phase, event), running_at=at)
        case ev.StopRequested():
            return _with_stop(_live(phase, event), event, at)
        case ev.SigtermSent():
            return _stage(_live(phase, event), event.stage, event.deadline_at)
        case ev.SigkillSent():
            return _stage(_live(phase, event), 3, event.deadline_at)
        case ev.StopTimedOut():
            return _stage(_live(phase, event), 4, None)
        case ev.ZombieReaped():
            return _reaped(_live(phase, event), event, at)
        case ev.AgentFailed():
            failure = Failure(cause=event.cause, message=event.message, phase=event.phase, errno=event.errno)
            return replace(_ended(phase, at), outcome=target, failure=failure)
        case ev.AgentLost():
            failure = Failure(cause="unknown", message=event.reason, phase=None, errno=None)
            return replace(_ended(phase, at), outcome=target, failure=failure)
        case ev.AgentCompleted() | ev.AgentCancelled() | ev.AgentKilled():
            return replace(_ended(phase, at), outcome=target)
        case ev.RestartScheduled():
            return Waiting(next_attempt=event.next_attempt, due_at=event.due_at, last=_ended(phase, at))
        case ev.HealthChanged() | ev.SignalSent() | ev.AgentReattached():
            return _live(phase, event)
        case ev.RestartGivenUp():
            return phase
        case ev.AgentSpawning():
            raise AssertionError("handled by _spawned")
        case _:
            assert_never(event)


def _live(phase: Phase, event: ev.AgentEvent) -> Live:
    if isinstance(phase, Live):
        return phase
    raise IllegalTransition(
        state=phase.kind, event_type=event.TYPE, detail="no process was recorded as started"
    )


def _ended(phase: Phase, at: int) -> Ended:
    match phase:
        case Ended():
            return phase
        case Waiting():
            return phase.last
        case Requested():
            return Ended(
                process=None,
                started_at=None,
                running_at=None,
                stop=None,
                exit=None,
                is_tree_complete=True,
                ended_at=at,
            )
        case Live():
            raise IllegalTransition(
                state=phase.kind, event_type="an outcome", detail="its process was not reaped"
            )
        case _:
            assert_never(phase)


def _with_stop(live: Live, event: ev.StopRequested, at: int) -> Live:
    before = live.stop
    if before is None:
        stop = Stop(
            requested_at=at,
            cause=event.cause,
            last_cause=event.cause,
            reason=event.reason,
            forced=event.forced,
            grace_seconds=event.grace_seconds,
        )
        return replace(live, stop=stop)
    # A second request (a kill during a slow stop, a stop during a restart) replaces the waits; the stage stays.
    is_by_rule = before.cause in ("limit", "health")
    stop = replace(
        before,
        cause=before.cause if is_by_rule else event.cause,
        last_cause=event.cause,
        reason=before.reason if is_by_rule else event.reason,
        forced=event.forced,
        grace_seconds=event.grace_seconds,
    )
    return replace(live, stop=stop)


def _stage(live: Live, stage: Literal[1, 2, 3, 4], deadline_at: int | None) -> Live:
    if live.stop is None:
        raise IllegalTransition(
            state=State.RUNNING, event_type="a stop stage", detail="no stop was requested"
        )
    sent = live.stop.is_kill_sent or stage == 3
    return replace(live, stop=replace(live.stop, stage=stage, deadline_at=deadline_at, is_kill_sent=sent))


def _reaped(live: Live, event: ev.ZombieReaped, at: int) -> Ended:
    return Ended(
        process=live.process,
        started_at=live.started_at,
        running_at=live.running_at,
        stop=live.stop,
        exit=event.exit,
        is_tree_complete=event.is_tree_complete,
        ended_at=at if event.ended_at is None else event.ended_at,
    )
