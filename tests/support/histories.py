"""Events to test with: one of each shape, new ones with ids, and legal histories of an agent at random."""

import time
from dataclasses import replace
from uuid import uuid4

from hypothesis import strategies as st

from eventstore import events as ev
from eventstore import home_events
from eventstore.errors import IllegalTransition
from eventstore.lifecycle import TRANSITIONS, evolve
from eventstore.record import NewEvent
from eventstore.state import AgentState
from eventstore.values import (
    ExitedBySignal,
    ExitedWithCode,
    ExitUnknown,
    Health,
    HealthLimits,
    ProcessRecord,
    RecordedSpec,
    ResourceLimits,
    ResourceUse,
    RestartRule,
    StoredText,
)

BOOT = "0f5b2a3c-1111-4222-8333-444455556666"
SPEC = RecordedSpec(
    command=("sleep", "60", "naïve ☃"),
    cwd="/srv",
    env_names=("TASK",),
    inherit_env=True,
    user=None,
    umask=None,
    until="main",
    start_window_seconds=0.1,
    stop_grace_seconds=(10.0, 5.0, 5.0),
    success_codes=(0,),
    restart=RestartRule(mode="on-failure", max_restarts=3),
    labels={"team": "blue"},
)
SILENCE = HealthLimits(silence_seconds=600.0)
LIMITS = ResourceLimits(wall_seconds=1800.0, memory_bytes=1 << 29, processes=64, cpu_seconds=90.0)
PROCESS = ProcessRecord(
    pid=4711,
    start_ticks=123_456,
    boot_id=BOOT,
    pid_namespace=4_026_531_836,
    pidfd_inode=77,
    shim_pid=4710,
    shim_start_ticks=123_450,
    shim_pidfd_inode=76,
    cgroup=None,
)
OUTPUT = StoredText(digest="cd" * 32, size_bytes=4, stream="stderr")
CODE = ExitedWithCode(code=7)
SIGNAL = ExitedBySignal(signal=9, core_dumped=True)
UNKNOWN = ExitUnknown(reason="the host rebooted", not_before_at=1, not_after_at=None)


def spawning(attempt: int = 1, name: str = "builder") -> ev.AgentSpawning:
    """The intent of an attempt."""
    return ev.AgentSpawning(
        attempt=attempt,
        name=name,
        spec=SPEC,
        spec_digest="ab" * 32,
        directory=f"agents/x/{attempt}",
        boot_id=BOOT,
    )


def reaped(attempt: int = 1, exit_: ExitedWithCode | ExitedBySignal | ExitUnknown = CODE) -> ev.ZombieReaped:
    """The end of an attempt's process."""
    seen = not isinstance(exit_, ExitUnknown)
    return ev.ZombieReaped(
        attempt=attempt,
        exit=exit_,
        ended_at=1_700_000_000_000_000 if seen else None,
        reaped_by="shim" if seen else "nobody",
        source="shim record" if seen else "none",
        is_recovered=not seen,
        is_tree_complete=seen,
        leftovers=(4712, 4713) if seen else None,
        oom_killed=False if seen else None,
        resources=ResourceUse(user_seconds=0.5, system_seconds=0.25, max_memory_bytes=8_388_608)
        if seen
        else None,
    )


def samples(attempt: int = 1) -> list[ev.AgentEvent]:
    """One of each type an agent's stream can hold; those with variants more than once."""
    return [
        spawning(attempt),
        replace(spawning(attempt), spec=replace(SPEC, limits=LIMITS)),
        replace(spawning(attempt), spec=replace(SPEC, health=SILENCE)),
        ev.AgentStarted(attempt=attempt, process=PROCESS),
        ev.AgentRunning(attempt=attempt, evidence="alive after 0.1 s"),
        ev.HealthChanged(
            attempt=attempt, previous=Health.UNKNOWN, health=Health.DEGRADED, evidence="memory 91 %"
        ),
        ev.StopRequested(
            attempt=attempt, cause="user", reason="done", forced=False, grace_seconds=(10.0, 5.0, 5.0)
        ),
        ev.SigtermSent(attempt=attempt, stage=1, deadline_at=1_700_000_000_000_000),
        ev.SigtermSent(attempt=attempt, stage=2, deadline_at=1_700_000_000_000_000),
        ev.SigkillSent(attempt=attempt, deadline_at=1_700_000_000_000_000),
        ev.SignalSent(attempt=attempt, signal=10, reason=None),
        ev.StopTimedOut(attempt=attempt, detail="uninterruptible"),
        reaped(attempt, CODE),
        reaped(attempt, SIGNAL),
        reaped(attempt, UNKNOWN),
        ev.AgentCompleted(attempt=attempt),
        ev.AgentFailed(
            attempt=attempt,
            cause="exit",
            message="exit code 7",
            phase=None,
            errno=None,
            last_output=OUTPUT,
        ),
        ev.AgentCancelled(attempt=attempt),
        ev.AgentCancelled(attempt=attempt, reason="not today"),
        ev.AgentKilled(attempt=attempt),
        ev.AgentLost(attempt=attempt, reason="the host rebooted"),
        ev.RestartScheduled(
            attempt=attempt,
            next_attempt=attempt + 1,
            delay_seconds=1.0,
            due_at=1_700_000_000_000_000,
            used=1,
            reason="policy",
        ),
        ev.RestartGivenUp(attempt=attempt, used=3, reason="3 restarts used"),
        ev.AgentReattached(attempt=attempt, via="shim", evidence="lock held", unwatched_seconds=2.5),
    ]


def coordinator_samples() -> list[home_events.CoordinatorEvent]:
    """One of each type the home's own stream can hold."""
    return [
        home_events.CoordinatorStarted(epoch=1, pid=99, boot_id=BOOT, version="0.1.0"),
        home_events.CoordinatorStarted(epoch=2, pid=98, boot_id=BOOT, version="0.1.0", taken_over_from=99),
        home_events.CoordinatorStopped(epoch=1, agents_left=2),
        home_events.RecoveryCompleted(
            epoch=1,
            reattached=90,
            ended=10,
            lost=0,
            never_started=1,
            resumed_stops=2,
            duration_seconds=0.75,
            due_attempts=3,
        ),
        home_events.RequestRefused(epoch=1, uid=1000, pid=77, rule="another user", method=None, refusals=3),
        home_events.LogPruned(
            position=1, hash="ab" * 32, events=1, export="log.jsonl", export_sha256="cd" * 32
        ),
        home_events.PayloadsErased(
            epoch=1, agent_id="x", digests=("cd" * 32,), has_output=True, reason="it held a name"
        ),
    ]


def new(event: ev.Event, *, event_id: str | None = None, at: int | None = None) -> NewEvent:
    """`event`, ready to be appended."""
    return NewEvent(
        event=event,
        event_id=event_id or str(uuid4()),
        occurred_at=time.time_ns() // 1000 if at is None else at,
        actor="tests",
        correlation_id=str(uuid4()),
    )


def note(text: str = "note") -> home_events.CoordinatorEvent:
    """An event that any number of may follow each other, in a stream of no agent."""
    return home_events.CoordinatorStarted(epoch=1, pid=1, boot_id=BOOT, version=text)


@st.composite
def legal_histories(draw: st.DrawFn, *, max_size: int = 25) -> list[ev.AgentEvent]:
    """What one agent may live through: at each step any event that the lifecycle allows."""
    history: list[ev.AgentEvent] = []
    state: AgentState | None = None
    for step in range(draw(st.integers(0, max_size))):
        possible = [(event, after) for event in _candidates(state) if (after := _after(state, event, step))]
        if not possible:
            break
        event, state = draw(st.sampled_from(possible))
        history.append(event)
    return history


def _candidates(state: AgentState | None) -> list[ev.AgentEvent]:
    allowed = TRANSITIONS[None if state is None else state.state]
    attempt = 1 if state is None else state.attempt
    again = [spawning(attempt + 1)] if state is not None else []
    return [event for event in [*samples(attempt), *again] if event.TYPE in allowed]


def _after(state: AgentState | None, event: ev.AgentEvent, at: int) -> AgentState | None:
    try:
        return evolve(state, event, at)
    except IllegalTransition:
        return None
