"""Which event may follow which: every situation an agent can be in, against every event type."""

import pytest

from eventstore import events as ev
from eventstore.errors import IllegalTransition
from eventstore.lifecycle import TRANSITIONS, evolve, fold
from eventstore.state import OUTCOMES, State
from tests.support.histories import PROCESS, reaped, samples, spawning

S = State
STARTED = ev.AgentStarted(attempt=1, process=PROCESS)
RUNNING = ev.AgentRunning(attempt=1, evidence="alive")
STOP = ev.StopRequested(attempt=1, cause="user", reason=None, forced=False, grace_seconds=(1.0, 1.0, 1.0))
FAILED = ev.AgentFailed(attempt=1, cause="exit", message="7", phase=None, errno=None, last_output=None)
LOST = ev.AgentLost(attempt=1, reason="unknown")
BACKOFF = ev.RestartScheduled(attempt=1, next_attempt=2, delay_seconds=1.0, due_at=9, used=1, reason="policy")
EXITED: list[ev.AgentEvent] = [spawning(), STARTED, RUNNING, reaped()]
STOPPED: list[ev.AgentEvent] = [spawning(), STARTED, RUNNING, STOP]
AGAIN = {"SPAWNING": S.SPAWNING, "RESTART_SCHEDULED": S.BACKOFF}

# situation: (what has happened, what may follow and leads where)
SITUATIONS: dict[str, tuple[list[ev.AgentEvent], dict[str, State]]] = {
    "new": ([], {"SPAWNING": S.SPAWNING}),
    "intended": ([spawning()], {"STARTED": S.SPAWNING, "FAILED": S.FAILED, "LOST": S.LOST}),
    "started": (
        [spawning(), STARTED],
        {
            "RUNNING": S.RUNNING,
            "REATTACHED": S.SPAWNING,
            "SIGNAL_SENT": S.SPAWNING,
            "STOP_REQUESTED": S.STOPPING,
            "ZOMBIE_REAPED": S.EXITED,
        },
    ),
    "running": (
        [spawning(), STARTED, RUNNING],
        {
            "HEALTH_CHANGED": S.RUNNING,
            "REATTACHED": S.RUNNING,
            "SIGNAL_SENT": S.RUNNING,
            "STOP_REQUESTED": S.STOPPING,
            "ZOMBIE_REAPED": S.EXITED,
        },
    ),
    "stopping": (
        STOPPED,
        {
            "STOP_REQUESTED": S.STOPPING,
            "SIGTERM_SENT": S.STOPPING,
            "SIGKILL_SENT": S.STOPPING,
            "STOP_TIMED_OUT": S.STOPPING,
            "HEALTH_CHANGED": S.STOPPING,
            "REATTACHED": S.STOPPING,
            "SIGNAL_SENT": S.STOPPING,
            "ZOMBIE_REAPED": S.EXITED,
        },
    ),
    "exited": (
        EXITED,
        {
            "COMPLETED": S.COMPLETED,
            "FAILED": S.FAILED,
            "CANCELLED": S.CANCELLED,
            "KILLED": S.KILLED,
            "LOST": S.LOST,
        },
    ),
    "completed": ([*EXITED, ev.AgentCompleted(attempt=1)], AGAIN),
    "failed": ([*EXITED, FAILED], {**AGAIN, "RESTART_GIVEN_UP": S.FAILED}),
    "failed to start": ([spawning(), FAILED], {**AGAIN, "RESTART_GIVEN_UP": S.FAILED}),
    "cancelled": ([*STOPPED, reaped(), ev.AgentCancelled(attempt=1)], AGAIN),
    "killed": ([*STOPPED, reaped(), ev.AgentKilled(attempt=1)], {**AGAIN, "RESTART_GIVEN_UP": S.KILLED}),
    "lost": ([*EXITED, LOST], {**AGAIN, "RESTART_GIVEN_UP": S.LOST}),
    "never started": ([spawning(), LOST], {**AGAIN, "RESTART_GIVEN_UP": S.LOST}),
    "backing off": ([*EXITED, FAILED, BACKOFF], {**AGAIN, "CANCELLED": S.CANCELLED}),
}
TYPES = sorted({event.TYPE for event in samples()})


def _next(situation: str, type_name: str) -> ev.AgentEvent:
    if type_name == "SPAWNING":
        return spawning(1 if situation == "new" else 2)
    return next(event for event in samples() if type_name == event.TYPE)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("type_name", TYPES)
def test_what_the_table_lacks_is_illegal(situation: str, type_name: str) -> None:
    """In every situation an event either leads to the one state that is written down, or is refused."""
    history, follows = SITUATIONS[situation]
    state = fold([(event, at) for at, event in enumerate(history)])
    event = _next(situation, type_name)
    if type_name in follows:
        after = evolve(state, event, 99)
        assert after.state is follows[type_name]
        assert after.version == len(history) + 1
    else:
        with pytest.raises(IllegalTransition):
            evolve(state, event, 99)


def test_every_event_type_is_in_the_samples() -> None:
    """The table above speaks of all the types there are."""
    agent_types = {cls.TYPE for cls in ev.AgentEvent.__args__}
    assert set(TYPES) == agent_types
    assert {name for follows in TRANSITIONS.values() for name in follows} == agent_types
    assert set(TRANSITIONS) == {None, *State}


def test_only_an_agent_whose_process_is_over_is_final() -> None:
    """An outcome is reached from EXITED, from a start that gave no process, or by giving up a back-off; never else."""
    for source, follows in TRANSITIONS.items():
        for target in follows.values():
            if target in OUTCOMES and source != target:
                assert source in {S.EXITED, S.SPAWNING, S.BACKOFF}


@pytest.mark.parametrize("event", samples(attempt=2), ids=lambda event: event.TYPE)
@pytest.mark.parametrize("situation", [name for name in SITUATIONS if name != "new"])
def test_news_of_another_attempt_is_refused(situation: str, event: ev.AgentEvent) -> None:
    """An event about attempt 2 can't change attempt 1, except that it begins."""
    state = fold([(one, 0) for one in SITUATIONS[situation][0]])
    if event.TYPE == "SPAWNING":
        return
    with pytest.raises(IllegalTransition):
        evolve(state, event, 0)
