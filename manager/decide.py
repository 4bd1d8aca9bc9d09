"""What follows from an order or an observation: `decide(state, command, now)` gives the events to append.

Pure: no clock, no ids, no input or output. Impossible orders raise `InvalidRequest` and give no event. An observation
that says nothing new gives an empty list, so that observing twice, or after a crash once more, changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from eventstore import events as ev
from eventstore.errors import InvalidRequest
from eventstore.lifecycle import evolve
from eventstore.state import AgentState, Ended, Live, Requested, State, Waiting
from eventstore.values import RecordedSpec
from manager import commands as do
from manager.judge import MICROSECONDS, RULES, judge, later, scheduled, wants, what_follows
from manager.recordable import recordable


def decide(state: AgentState | None, command: do.Command, now: int) -> list[ev.AgentEvent]:
    """The events that `command` leads to at `now` (microseconds since the epoch), possibly none.

    Raises `InvalidRequest` for an order that the present state does not allow.
    """
    if isinstance(command, do.Spawn):
        return _spawn(state, command)
    if state is None:
        raise InvalidRequest(
            "cannot act on an agent that was never started: its log is empty; start it first"
        )
    match command:
        case do.ConfirmStarted():
            return _confirm_started(state, command)
        case do.ReportFailedStart():
            return _failed_start(state, command)
        case do.PassStartWindow():
            return _pass_start_window(state)
        case do.RequestStop():
            return _request_stop(state, command, now)
        case do.AdvanceStop():
            return _advance_stop(state, command, now)
        case do.RecallSignal():
            return _recall_signal(state, command, now)
        case do.SendSignal():
            return _send_signal(state, command)
        case do.ObserveExit():
            return _observe_exit(state, command, now)
        case do.ObserveHealth():
            return _observe_health(state, command)
        case do.Reattach():
            return _reattach(state, command)
        case do.DeclareLost():
            if not isinstance(state.phase, Requested):
                return []
            return [ev.AgentLost(attempt=state.attempt, reason=command.reason)]
        case do.Restart():
            return _restart(state, command, now)
        case do.CancelBackoff():
            if not isinstance(state.phase, Waiting):
                return []
            return [ev.AgentCancelled(attempt=state.attempt, reason=command.reason)]
        case _:
            assert_never(command)


def _spawn(state: AgentState | None, command: do.Spawn) -> list[ev.AgentEvent]:
    if state is not None and not isinstance(state.phase, Waiting) and not state.is_final:
        raise InvalidRequest(
            f"cannot start {state.name}: attempt {state.attempt} is {state.state}; stop it first"
        )
    return [
        ev.AgentSpawning(
            attempt=1 if state is None else state.attempt + 1,
            name=command.name,
            spec=command.spec,
            spec_digest=command.spec_digest,
            directory=command.directory,
            boot_id=command.boot_id,
        )
    ]


def _confirm_started(state: AgentState, command: do.ConfirmStarted) -> list[ev.AgentEvent]:
    if not isinstance(state.phase, Requested):
        return []
    return [ev.AgentStarted(attempt=state.attempt, process=command.process)]


def _failed_start(state: AgentState, command: do.ReportFailedStart) -> list[ev.AgentEvent]:
    if not isinstance(state.phase, Requested):
        return []
    # Not restarted by policy: what keeps a program from being executed (no such file, no permission) stays so.
    return [
        ev.AgentFailed(
            attempt=state.attempt,
            cause="failed start",
            message=recordable(_describe(state.spec, command)),
            phase=command.phase,
            errno=command.errno,
            last_output=None,
        )
    ]


def _describe(spec: RecordedSpec, failure: do.ReportFailedStart) -> str:
    """What could not be done, with the value that was asked for, and the system's word why."""
    if not failure.errno:
        return failure.message
    what = {
        "launch": "cannot start its launcher",
        "fork": "cannot make its process",
        "mkdir": "cannot make its directory",
        "exec": f"cannot execute {spec.command[0]}",
        "cwd": f"cannot enter the directory {spec.cwd}",
        "user": f"cannot become user {spec.user}",
    }.get(failure.phase, f"cannot set up its {failure.phase}")
    return f"{what}: {failure.message}"


def _pass_start_window(state: AgentState) -> list[ev.AgentEvent]:
    if state.state is not State.SPAWNING or not isinstance(state.phase, Live):
        return []
    window = state.spec.start_window_seconds
    return [ev.AgentRunning(attempt=state.attempt, evidence=f"alive {window:g} s after its start")]


def _request_stop(state: AgentState, command: do.RequestStop, now: int) -> list[ev.AgentEvent]:
    if isinstance(state.phase, Waiting):
        return [ev.AgentCancelled(attempt=state.attempt, reason=command.reason)]
    if isinstance(state.phase, Ended):
        return []
    if isinstance(state.phase, Requested):
        raise InvalidRequest(f"cannot stop {state.name} yet: its process is not known; ask again in a moment")
    grace = command.grace_seconds or state.spec.stop_grace_seconds
    request = ev.StopRequested(
        attempt=state.attempt,
        cause=command.cause,
        reason=command.reason,
        forced=command.forced,
        grace_seconds=grace,
    )
    stop = state.phase.stop
    if (
        stop is not None
        and stop.stage > 0
        and not (command.forced and (stop.stage == 4 or not stop.is_kill_sent))
    ):
        # Under way already; only a kill can make it faster, and only a timed-out one is sent again. But whether an
        # attempt follows is for the last order of a person to say.
        is_other = command.cause not in RULES and wants(command.cause) != wants(stop.last_cause)
        return [replace(request, forced=stop.forced)] if is_other else []
    if command.forced:
        first: ev.AgentEvent = ev.SigkillSent(attempt=state.attempt, deadline_at=later(now, grace[2]))
    else:
        first = ev.SigtermSent(attempt=state.attempt, stage=1, deadline_at=later(now, grace[0]))
    return [request, first]


def _advance_stop(state: AgentState, command: do.AdvanceStop, now: int) -> list[ev.AgentEvent]:
    if not isinstance(state.phase, Live) or state.phase.stop is None:
        return []
    stop = state.phase.stop
    if stop.deadline_at is not None and now < stop.deadline_at:
        return []
    if command.is_tree_gone and stop.deadline_at is not None:
        # A signal more would be a lie. Its shim has as long to write the exit as all stages together.
        if now < later(stop.deadline_at, sum(stop.grace_seconds[stop.stage :])):
            return []
        return [ev.StopTimedOut(attempt=state.attempt, detail=command.detail)] if stop.stage < 4 else []
    if stop.stage == 0:
        return [ev.SigtermSent(attempt=state.attempt, stage=1, deadline_at=later(now, stop.grace_seconds[0]))]
    if stop.stage == 1:
        return [ev.SigtermSent(attempt=state.attempt, stage=2, deadline_at=later(now, stop.grace_seconds[1]))]
    if stop.stage == 2:
        return [ev.SigkillSent(attempt=state.attempt, deadline_at=later(now, stop.grace_seconds[2]))]
    if stop.stage == 3:
        return [ev.StopTimedOut(attempt=state.attempt, detail=command.detail)]
    return []


def _recall_signal(state: AgentState, command: do.RecallSignal, now: int) -> list[ev.AgentEvent]:
    """`now` is when it was sent. Nothing follows from one that is in the log."""
    order = command.order
    if command.stage == 0 and order is not None and isinstance(state.phase, Waiting):
        return [ev.AgentCancelled(attempt=state.attempt, reason=order.reason)]
    if not isinstance(state.phase, Live):
        return []
    stop = state.phase.stop
    if order is not None:
        if stop is None:
            is_news = command.stage > 0
        else:
            is_news = command.stage == 0 or (command.stage == 3 and not stop.is_kill_sent)
        request = do.RequestStop(
            cause=order.cause,
            reason=order.reason,
            forced=command.stage == 3,
            grace_seconds=order.grace_seconds,
        )
        return _request_stop(state, request, now) if is_news else []
    if stop is None or command.stage == 0 or command.stage <= stop.stage:
        return []
    deadline = later(now, stop.grace_seconds[command.stage - 1])
    if command.stage == 3:
        return [ev.SigkillSent(attempt=state.attempt, deadline_at=deadline)]
    return [ev.SigtermSent(attempt=state.attempt, stage=command.stage, deadline_at=deadline)]


def _send_signal(state: AgentState, command: do.SendSignal) -> list[ev.AgentEvent]:
    if not isinstance(state.phase, Live):
        raise InvalidRequest(
            f"cannot signal {state.name}: it is {state.state}, no process of it is known to run"
        )
    return [ev.SignalSent(attempt=state.attempt, signal=command.signal, reason=command.reason)]


def _observe_health(state: AgentState, command: do.ObserveHealth) -> list[ev.AgentEvent]:
    if not isinstance(state.phase, Live) or state.state is State.SPAWNING or state.health is command.health:
        return []
    return [
        ev.HealthChanged(
            attempt=state.attempt,
            previous=state.health,
            health=command.health,
            evidence=command.evidence,
        )
    ]


def _reattach(state: AgentState, command: do.Reattach) -> list[ev.AgentEvent]:
    if not isinstance(state.phase, Live):
        return []
    return [
        ev.AgentReattached(
            attempt=state.attempt,
            via=command.via,
            evidence=command.evidence,
            unwatched_seconds=command.unwatched_seconds,
        )
    ]


def _observe_exit(state: AgentState, command: do.ObserveExit, now: int) -> list[ev.AgentEvent]:
    events: list[ev.AgentEvent] = []
    after_all = state
    if isinstance(state.phase, Live):
        if _outlived_its_start_window(state.phase, state.spec.start_window_seconds, command):
            # It ran on while nobody watched; the exit record says so.
            events.append(
                ev.AgentRunning(attempt=state.attempt, evidence="its exit came after the start window")
            )
        events.append(_reaped(state.attempt, command))
        for event in events:
            after_all = evolve(after_all, event, now)
    if not isinstance(after_all.phase, Ended) or after_all.phase.outcome is not None:
        return []
    output = None if command.last_output is None else command.last_output.reference
    verdict = judge(after_all, after_all.phase, output, oom_killed=command.oom_killed)
    after_all = evolve(after_all, verdict, now)
    return [*events, verdict, *what_follows(after_all, now, command.ran_seconds)]


def _outlived_its_start_window(live: Live, window_seconds: float, command: do.ObserveExit) -> bool:
    if live.running_at is not None or live.stop is not None:
        return False
    if command.ran_seconds is not None:
        return command.ran_seconds >= window_seconds
    return (
        command.ended_at is not None and command.ended_at - live.started_at >= window_seconds * MICROSECONDS
    )


def _reaped(attempt: int, command: do.ObserveExit) -> ev.ZombieReaped:
    return ev.ZombieReaped(
        attempt=attempt,
        exit=command.exit,
        ended_at=command.ended_at,
        reaped_by=command.reaped_by,
        source=command.source,
        is_recovered=command.is_recovered,
        is_tree_complete=command.is_tree_complete,
        leftovers=command.leftovers,
        oom_killed=command.oom_killed,
        resources=command.resources,
    )


def _restart(state: AgentState, command: do.Restart, now: int) -> list[ev.AgentEvent]:
    is_ended = isinstance(state.phase, Ended) and state.phase.outcome is not None
    if is_ended or isinstance(state.phase, Waiting):
        return [scheduled(state, now, 0.0, 0, command.reason or "restart requested")]
    raise InvalidRequest(f"cannot restart {state.name}: it is {state.state}; stop it first")
