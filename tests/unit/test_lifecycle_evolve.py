"""What an agent's history says about it: given events, then the state."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from eventstore import events as ev
from eventstore.errors import IllegalTransition
from eventstore.lifecycle import evolve, fold
from eventstore.state import AgentState, Ended, Live, Requested, State, Waiting
from eventstore.values import Health
from tests.support.histories import CODE, PROCESS, legal_histories, reaped, spawning

STARTED = ev.AgentStarted(attempt=1, process=PROCESS)
RUNNING = ev.AgentRunning(attempt=1, evidence="alive")


def _stop(*, forced: bool = False, cause: str = "user") -> ev.StopRequested:
    return ev.StopRequested(
        attempt=1,
        cause=cause,  # type: ignore[arg-type]
        reason="enough",
        forced=forced,
        grace_seconds=(3.0, 2.0, 1.0),
    )


def _given(*history: ev.AgentEvent) -> AgentState:
    state = fold([(event, 100 + at) for at, event in enumerate(history)])
    assert state is not None
    return state


def test_an_intent_has_no_process() -> None:
    """After SPAWNING there may be a process or not: the state has no pid to tell."""
    state = _given(spawning())
    assert state.phase == Requested()
    assert (state.spawned_at, state.requested_at, state.attempt) == (100, 100, 1)


def test_a_start_has_its_process_and_time() -> None:
    """STARTED brings the identity, RUNNING the time from which it counts as running."""
    state = _given(spawning(), STARTED, RUNNING)
    assert state.phase == Live(process=PROCESS, started_at=101, running_at=102)
    assert state.since_at == 102


def test_a_process_is_recorded_once() -> None:
    """A second STARTED for the same attempt would put one identity over another, and is refused."""
    state = _given(spawning(), STARTED)
    with pytest.raises(IllegalTransition, match="started before"):
        evolve(state, STARTED, 200)


def test_since_changes_with_the_state_only() -> None:
    """`since_at` is when the state began, not when the last event came."""
    health = ev.HealthChanged(attempt=1, previous=Health.UNKNOWN, health=Health.HEALTHY, evidence="ok")
    state = _given(spawning(), STARTED, RUNNING, health)
    assert (state.since_at, state.health) == (102, Health.HEALTHY)


def test_a_half_done_stop_can_be_continued() -> None:
    """The stage reached and its deadline are in the state, so that a new coordinator goes on from there."""
    state = _given(
        spawning(), STARTED, RUNNING, _stop(), ev.SigtermSent(attempt=1, stage=1, deadline_at=5_000)
    )
    assert isinstance(state.phase, Live)
    assert state.phase.stop is not None
    assert (state.phase.stop.stage, state.phase.stop.deadline_at) == (1, 5_000)
    assert state.phase.stop.is_kill_sent is False


def test_a_kill_during_a_slow_stop_keeps_who_asked_first() -> None:
    """A second request takes over the waits and the force; a rule's cause, reason and time stay."""
    state = _given(
        spawning(),
        STARTED,
        RUNNING,
        _stop(cause="limit"),
        ev.SigkillSent(attempt=1, deadline_at=1),
        replace(_stop(forced=True), reason="at once"),
    )
    assert isinstance(state.phase, Live)
    stop = state.phase.stop
    assert stop is not None
    assert (stop.cause, stop.requested_at, stop.forced, stop.is_kill_sent) == ("limit", 103, True, True)
    assert (stop.reason, stop.last_cause) == ("enough", "user")


def test_no_signal_of_a_stop_without_a_stop() -> None:
    """SIGTERM_SENT needs a STOP_REQUESTED before it: somebody asked, and why is known."""
    with pytest.raises(IllegalTransition):
        evolve(_given(spawning(), STARTED, RUNNING), ev.SigtermSent(attempt=1, stage=1, deadline_at=1), 1)


def test_the_exit_is_what_was_seen() -> None:
    """The recorded exit is carried as it is, with the time at which it happened, where somebody saw it."""
    state = _given(spawning(), STARTED, RUNNING, reaped(exit_=CODE))
    assert isinstance(state.phase, Ended)
    assert state.phase.exit == CODE
    assert state.phase.ended_at == 1_700_000_000_000_000
    assert state.phase.outcome is None


def test_a_failed_start_has_no_exit() -> None:
    """A program that was never executed has neither a process nor an exit code."""
    failed = ev.AgentFailed(
        attempt=1, cause="failed start", message="no such file", phase="exec", errno=2, last_output=None
    )
    state = _given(spawning(), failed)
    assert isinstance(state.phase, Ended)
    assert (state.phase.process, state.phase.exit, state.phase.outcome) == (None, None, State.FAILED)
    assert state.phase.is_tree_complete  # of nothing all is known
    assert state.phase.failure is not None
    assert state.phase.failure.errno == 2
    assert state.is_final


def test_attempts_are_numbered_without_gaps() -> None:
    """The first is 1, each other one more than the one before."""
    with pytest.raises(IllegalTransition, match="attempt 2"):
        evolve(None, spawning(attempt=2), 1)
    lost = _given(spawning(), ev.AgentLost(attempt=1, reason="?"))
    for attempt in (1, 3):
        with pytest.raises(IllegalTransition, match=f"attempt {attempt}"):
            evolve(lost, spawning(attempt=attempt), 200)


def test_no_outcome_while_the_process_may_live() -> None:
    """A process that was started must be reaped before it is judged."""
    with pytest.raises(IllegalTransition, match="not reaped"):
        evolve(_given(spawning(), STARTED), ev.AgentLost(attempt=1, reason="?"), 1)


def test_back_off_remembers_when_and_after_what() -> None:
    """A scheduled restart holds its due time and the attempt before it, and is not final."""
    history: list[ev.AgentEvent] = [
        spawning(),
        STARTED,
        RUNNING,
        reaped(),
        ev.AgentFailed(attempt=1, cause="exit", message="7", phase=None, errno=None, last_output=None),
        ev.RestartScheduled(
            attempt=1, next_attempt=2, delay_seconds=1.0, due_at=7_000, used=1, reason="policy"
        ),
    ]
    state = _given(*history)
    assert isinstance(state.phase, Waiting)
    assert (state.phase.due_at, state.phase.last.outcome, state.restarts_used) == (7_000, State.FAILED, 1)
    assert not state.is_final
    again = evolve(state, spawning(attempt=2), 300)
    assert (again.attempt, again.spawned_at, again.requested_at) == (2, 100, 300)
    assert again.phase == Requested()


@settings(max_examples=100, deadline=None)
@given(legal_histories())
def test_folding_is_the_same_in_any_portions(history: list[ev.AgentEvent]) -> None:
    """Folding a history at once or event by event gives the same state, and counts every event."""
    pairs = [(event, at) for at, event in enumerate(history)]
    state: AgentState | None = None
    for event, at in pairs:
        state = evolve(state, event, at)
    assert state == fold(pairs)
    assert (state.version if state else 0) == len(history)
