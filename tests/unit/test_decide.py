"""What each order and each observation leads to, in every state: given events, when a command, then events."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import InvalidRequest
from eventstore.events import AgentEvent, RestartScheduled, StopRequested, StopTimedOut
from eventstore.lifecycle import evolve
from eventstore.state import AgentState, Live, State
from eventstore.values import ExitedBySignal, ExitedWithCode, Health, RestartRule
from manager import commands as do
from manager.decide import decide
from tests.support.histories import BOOT, PROCESS, SPEC
from tests.support.states import RUNNING, SECOND, STARTED, STATES, T0, after, asked, term

NOW = T0 + 60 * SECOND  # after every deadline in STATES

SPAWN = do.Spawn(name="builder", spec=SPEC, spec_digest="ab" * 32, directory="agents/x/2", boot_id=BOOT)
EXIT = do.ObserveExit(
    exit=ExitedWithCode(code=7), ended_at=T0 + SECOND, reaped_by="shim", source="shim record", leftovers=()
)
ORDER = do.RecalledOrder(
    actor="cli", correlation_id="c", cause="user", reason=None, grace_seconds=(10.0, 5.0, 5.0)
)
COMMANDS: dict[str, do.Command] = {
    "spawn": SPAWN,
    "started": do.ConfirmStarted(process=PROCESS),
    "failed start": do.ReportFailedStart(phase="exec", errno=2, message="cannot execute x"),
    "window": do.PassStartWindow(),
    "stop": do.RequestStop(),
    "kill": do.RequestStop(forced=True),
    "advance": do.AdvanceStop(detail="still there: 7"),
    "signal": do.SendSignal(signal=10),
    "exit": EXIT,
    "reattach": do.Reattach(via="shim", evidence="its shim holds the lock", unwatched_seconds=2.0),
    "lost": do.DeclareLost(reason="nobody knows"),
    "restart": do.Restart(),
    "cancel": do.CancelBackoff(),
    "sick": do.ObserveHealth(health=Health.UNHEALTHY, evidence="silent for 60 s"),
    "mark 1": do.RecallSignal(at=T0, stage=1),
    "mark 3": do.RecallSignal(at=T0, stage=3),
    "mark of a stop": do.RecallSignal(at=T0, stage=1, order=ORDER),
    "mark of a kill": do.RecallSignal(at=T0, stage=3, order=ORDER),
    "mark of no more": do.RecallSignal(at=T0, stage=0, order=ORDER),
}
REFUSED = "refused"
LIVE = ("starting", "running", "asked to stop", "stopping 1", "stopping 2", "stopping 3", "stop timed out")
OVER = ("failed", "failed start", "completed", "lost")

# (command, state) → the types of the events that follow. What is not named here gives none, but for a new agent,
# of which every command except spawn is refused.
EXPECTED: dict[tuple[str, str], str] = {
    ("spawn", "new"): "SPAWNING",
    ("spawn", "waiting"): "SPAWNING",
    **{("spawn", state): "SPAWNING" for state in OVER},
    # never a second process beside a first one
    **{("spawn", state): REFUSED for state in (*LIVE, "requested", "exited")},
    ("started", "requested"): "STARTED",
    ("failed start", "requested"): "FAILED",
    ("window", "starting"): "RUNNING",
    ("stop", "requested"): REFUSED,  # whom to signal is not known yet
    ("stop", "starting"): "STOP_REQUESTED SIGTERM_SENT",
    ("stop", "running"): "STOP_REQUESTED SIGTERM_SENT",
    ("stop", "asked to stop"): "STOP_REQUESTED SIGTERM_SENT",
    ("stop", "waiting"): "CANCELLED",  # the attempt that was to come is what is stopped
    ("kill", "requested"): REFUSED,
    **{("kill", state): "STOP_REQUESTED SIGKILL_SENT" for state in LIVE if state != "stopping 3"},
    ("kill", "waiting"): "CANCELLED",
    ("advance", "asked to stop"): "SIGTERM_SENT",
    ("advance", "stopping 1"): "SIGTERM_SENT",
    ("advance", "stopping 2"): "SIGKILL_SENT",
    ("advance", "stopping 3"): "STOP_TIMED_OUT",
    **{("signal", state): REFUSED for state in (*OVER, "requested", "exited", "waiting")},
    **{("signal", state): "SIGNAL_SENT" for state in LIVE},
    # it ended 1 s after its start, so it had outlived its window although nobody was there to see it
    ("exit", "starting"): "RUNNING ZOMBIE_REAPED FAILED",
    ("exit", "running"): "ZOMBIE_REAPED FAILED",
    ("exit", "asked to stop"): "ZOMBIE_REAPED CANCELLED",
    ("exit", "stopping 1"): "ZOMBIE_REAPED CANCELLED",
    ("exit", "stopping 2"): "ZOMBIE_REAPED CANCELLED",
    ("exit", "stopping 3"): "ZOMBIE_REAPED CANCELLED",  # it called exit: the SIGKILL was not what ended it
    ("exit", "stop timed out"): "ZOMBIE_REAPED CANCELLED",
    ("exit", "exited"): "FAILED",  # judged at last, after a crash in between
    **{("reattach", state): "REATTACHED" for state in LIVE},
    ("lost", "requested"): "LOST",
    **{("restart", state): "RESTART_SCHEDULED" for state in (*OVER, "waiting")},
    **{("restart", state): REFUSED for state in (*LIVE, "requested", "exited")},
    ("cancel", "waiting"): "CANCELLED",
    # whether a program that is starting does well, nobody asks
    **{("sick", state): "HEALTH_CHANGED" for state in LIVE if state != "starting"},
    # Signals that only a mark tells of: what the log has already is no news.
    ("mark 1", "asked to stop"): "SIGTERM_SENT",
    **{("mark 3", state): "SIGKILL_SENT" for state in ("asked to stop", "stopping 1", "stopping 2")},
    **{("mark of a stop", state): "STOP_REQUESTED SIGTERM_SENT" for state in ("starting", "running")},
    **{
        ("mark of a kill", state): "STOP_REQUESTED SIGKILL_SENT"
        for state in LIVE
        if state not in ("stopping 3", "stop timed out")
    },
    ("mark of no more", "asked to stop"): "STOP_REQUESTED SIGTERM_SENT",
    ("mark of no more", "waiting"): "CANCELLED",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_every_state(command: str, state: str) -> None:
    """Each order does one thing or is refused; what says nothing new does nothing; refusals change nothing."""
    given_state = STATES[state]
    before = deepcopy(given_state)
    default = REFUSED if state == "new" else ""
    expected = EXPECTED.get((command, state), default)
    if expected == REFUSED:
        with pytest.raises(InvalidRequest, match=r"^cannot .+: .+"):
            decide(given_state, COMMANDS[command], NOW)
    else:
        events = decide(given_state, COMMANDS[command], NOW)
        assert " ".join(event.TYPE for event in events) == expected
        fold(given_state, events)
    assert given_state == before


@pytest.mark.parametrize("state", [name for name in STATES if name != "new"])
@pytest.mark.parametrize(
    "command", [n for n in COMMANDS if n not in ("spawn", "signal", "restart", "reattach")]
)
def test_an_observation_made_twice_changes_nothing(command: str, state: str) -> None:
    """After a crash the same thing is seen again; the second time nothing follows."""
    given_state = STATES[state]
    try:
        once = fold(given_state, decide(given_state, COMMANDS[command], NOW))
    except InvalidRequest:
        return
    assert once is not None
    if command == "kill" and state == "stop timed out":
        return  # a person who asks again for a kill that did not work gets another
    if (command, once.state) == ("advance", State.STOPPING) and state != "stopping 3":
        assert decide(once, COMMANDS[command], NOW) == []  # the next stage waits for its own deadline
        return
    assert decide(once, COMMANDS[command], NOW) == []


def test_the_three_stages_have_the_three_waits() -> None:
    """Each stage's deadline is the moment of its signal plus its own wait, recorded with it."""
    state = STATES["running"]
    request, first = decide(state, do.RequestStop(grace_seconds=(3.0, 2.0, 1.0)), NOW)
    assert isinstance(request, StopRequested)
    state = fold(state, [request, first])
    deadlines = [first.deadline_at]  # type: ignore[union-attr]
    for _ in range(2):
        (event,) = decide(state, do.AdvanceStop(), deadlines[-1])
        state = fold(state, [event])
        deadlines.append(event.deadline_at)  # type: ignore[union-attr]
    assert [deadline - NOW for deadline in deadlines] == [3 * SECOND, 5 * SECOND, 6 * SECOND]


def test_a_stop_that_was_asked_for_and_not_begun_has_its_first_wait() -> None:
    """Its coordinator was killed between the order and the signal."""
    state = after([STARTED, RUNNING, replace(asked(), grace_seconds=(3.0, 2.0, 1.0))])
    (event,) = decide(state, do.AdvanceStop(), NOW)
    assert event.deadline_at == NOW + 3 * SECOND  # type: ignore[union-attr]


def test_a_stage_is_not_left_before_its_deadline() -> None:
    """Whoever asks too early gets nothing: not a moment of the promised grace is lost."""
    assert decide(STATES["stopping 1"], do.AdvanceStop(), T0 + 10 * SECOND - 1) == []
    assert decide(STATES["stopping 1"], do.AdvanceStop(), T0 + 10 * SECOND) != []


def test_a_stop_that_only_waits_for_the_record_of_the_exit_claims_no_more_signals() -> None:
    """No process is left to signal; after all the waits of a stop together it is said that its end is not recorded."""
    state = STATES["stopping 1"]
    assert state is not None
    assert isinstance(state.phase, Live)
    assert state.phase.stop is not None
    gone = do.AdvanceStop(detail="full", is_tree_gone=True)
    last = (state.phase.stop.deadline_at or 0) + round(sum(state.phase.stop.grace_seconds[1:]) * SECOND)
    assert decide(state, gone, last - 1) == []
    said = decide(state, gone, last)
    assert said == [StopTimedOut(attempt=state.attempt, detail="full")]
    told = fold(state, said)
    assert told is not None
    assert decide(told, gone, last + 60 * SECOND) == []


def test_a_kill_overtakes_a_slow_stop_once() -> None:
    """`kill` during a `stop` sends SIGKILL now; a second `kill` does not start the last wait anew."""
    state = fold(STATES["stopping 1"], decide(STATES["stopping 1"], do.RequestStop(forced=True), NOW))
    assert decide(state, do.RequestStop(forced=True), NOW + SECOND) == []


@pytest.mark.parametrize(("orders", "follows"), [(("restart", "user"), False), (("user", "restart"), True)])
@pytest.mark.parametrize("is_forced", [False, True])
def test_a_stop_during_a_restart_was_passed_over(
    orders: tuple[Any, Any], follows: bool, is_forced: bool
) -> None:
    """The agent came back: now the last order says whether an attempt follows, and a slow stop goes on as it was."""
    state = after([STARTED, RUNNING, asked(cause=orders[0]), term()], rule=RestartRule(mode="always"))
    second = do.RequestStop(cause=orders[1], forced=is_forced and orders[1] == "user")
    events = decide(state, second, NOW)
    assert [event.TYPE for event in events] == ["STOP_REQUESTED", *["SIGKILL_SENT"] * second.forced]
    after_it = fold(state, events)
    assert decide(after_it, second, NOW) == []
    assert isinstance(state.phase, Live)
    assert after_it is not None
    assert isinstance(after_it.phase, Live)
    assert state.phase.stop is not None
    assert after_it.phase.stop is not None
    if not second.forced:
        assert after_it.phase.stop.deadline_at == state.phase.stop.deadline_at
    end = do.ObserveExit(
        exit=ExitedBySignal(signal=9, core_dumped=False), ended_at=NOW, reaped_by="shim", source="shim record"
    )
    assert isinstance(decide(after_it, end, NOW)[-1], RestartScheduled) == follows


@pytest.mark.parametrize(("stage", "wait"), [(1, 10), (3, 5)])
def test_a_signal_that_only_a_mark_tells_of_has_its_own_stages_wait(stage: Literal[1, 3], wait: int) -> None:
    """From when it was sent, not from when it was found."""
    state = after([STARTED, RUNNING, replace(asked(), grace_seconds=(10.0, 7.0, 5.0))])
    (event,) = decide(state, do.RecallSignal(at=T0, stage=stage), T0)
    assert event.deadline_at == T0 + wait * SECOND  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [0.1, 0.099999])
@pytest.mark.parametrize("is_timed", [True, False])
def test_what_ends_as_its_start_window_does_was_running(seconds: float, is_timed: bool) -> None:
    """To the microsecond, by the shim's clock or by the wall clock."""
    state = STATES["starting"]
    assert state is not None
    assert state.spec.start_window_seconds == 0.1
    ran = seconds if is_timed else None
    exit_ = replace(EXIT, ended_at=T0 + round(seconds * SECOND), ran_seconds=ran)
    assert (decide(state, exit_, NOW)[0].TYPE == "RUNNING") == (seconds == 0.1)


def test_a_kill_that_only_a_mark_tells_of_was_forced() -> None:
    """It gave no time to leave; the log must not say that it did."""
    first, _ = decide(STATES["running"], COMMANDS["mark of a kill"], NOW)
    assert isinstance(first, StopRequested)
    assert first.forced


@given(
    st.lists(st.tuples(st.sampled_from(sorted(COMMANDS)), st.integers(0, 30)), max_size=40),
    st.sampled_from(["never", "on-failure", "always"]),
)
def test_no_order_of_events_is_illegal(steps: list[tuple[str, int]], mode: Any) -> None:
    """Whatever is ordered and observed, in whatever order: what is decided is always in the lifecycle."""
    rule = RestartRule(mode=mode, max_restarts=2)
    state: AgentState | None = after([], rule=rule)
    now = T0
    for name, seconds in steps:
        now += seconds * SECOND
        try:
            state = fold(state, decide(state, COMMANDS[name], now), now)
        except InvalidRequest:
            continue


def fold(state: AgentState | None, events: list[AgentEvent], at: int = NOW) -> AgentState | None:
    """The state after the events."""
    for event in events:
        state = evolve(state, event, at)
    return state
