"""Another attempt or none, after an end: what the policy, the order and the length of the run say to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eventstore.events import AgentFailed, RestartScheduled
from eventstore.state import AgentState
from eventstore.values import ExitedBySignal, ExitedWithCode, RestartRule
from manager import commands as do
from manager.decide import decide
from tests.support.histories import PROCESS
from tests.support.states import KILL, RUNNING, SECOND, STARTED, STATES, T0, after, asked, term
from tests.unit.test_decide import COMMANDS, EXIT, NOW, SPAWN, fold


@pytest.mark.parametrize(
    ("cause", "rule", "follows"),
    [
        ("user", RestartRule(mode="always"), False),  # somebody wanted it gone
        ("shutdown", RestartRule(mode="always"), False),
        ("restart", RestartRule(mode="never"), True),  # somebody wanted it again
        ("limit", RestartRule(mode="on-failure"), True),  # a failure like another
        ("health", RestartRule(mode="on-failure"), True),
    ],
)
def test_what_follows_a_stop(cause: str, rule: RestartRule, follows: bool) -> None:
    """Something that was stopped on purpose is never restarted by policy."""
    state = after([STARTED, RUNNING, asked(cause=cause), term(), KILL], rule=rule)
    end = do.ObserveExit(
        exit=ExitedBySignal(signal=9, core_dumped=False), ended_at=NOW, reaped_by="shim", source="shim record"
    )
    assert isinstance(decide(state, end, NOW)[-1], RestartScheduled) == follows


@pytest.mark.parametrize("rule_cause", ["limit", "health"])
@pytest.mark.parametrize(
    ("order", "mode", "follows"), [("user", "always", False), ("restart", "never", True)]
)
def test_an_agent_came_back_that_was_stopped_while_a_rule_stopped_it(
    rule_cause: str, order: Any, mode: Any, follows: bool
) -> None:
    """The rule is why it failed, with its figures; whether an attempt follows is for the last order to say."""
    by_rule = replace(asked(cause=rule_cause), reason="too much: 7")
    state = after([STARTED, RUNNING, by_rule, term()], rule=RestartRule(mode=mode))
    events = decide(state, do.RequestStop(cause=order, reason="enough"), NOW)
    assert [event.TYPE for event in events] == ["STOP_REQUESTED"]
    stopping = fold(state, events)
    assert decide(stopping, do.RequestStop(cause=rule_cause, reason="again"), NOW) == []  # type: ignore[arg-type]
    _, failed, *rest = decide(stopping, EXIT, NOW)
    assert isinstance(failed, AgentFailed)
    assert (failed.cause, failed.message) == (rule_cause, "too much: 7")
    assert [event.TYPE for event in rest] == ["RESTART_SCHEDULED"] * follows


def test_a_restart_that_was_asked_for_comes_at_once() -> None:
    """The delays are for those that fail."""
    follows = decide(after([STARTED, RUNNING, asked(cause="restart"), term()]), EXIT, NOW)[-1]
    assert isinstance(follows, RestartScheduled)
    assert (follows.delay_seconds, follows.due_at, follows.used) == (0.0, NOW, 0)


@pytest.mark.parametrize(
    ("wall_seconds", "ran_seconds", "follows"),
    [
        (30, None, "RESTART_SCHEDULED"),
        (29, None, "RESTART_GIVEN_UP"),
        (29, 30.0, "RESTART_SCHEDULED"),  # the clock was set back meanwhile
        (30, 29.0, "RESTART_GIVEN_UP"),
    ],
)
def test_a_good_run_gives_the_budget_back(wall_seconds: int, ran_seconds: float | None, follows: str) -> None:
    """By the clock of the shim where it saw both ends, else by that on the wall."""
    rule = RestartRule(mode="on-failure", max_restarts=1, reset_after_seconds=30)
    spent = replace(after([STARTED, RUNNING], rule=rule), restarts_used=1)
    end = replace(EXIT, ended_at=T0 + wall_seconds * SECOND, ran_seconds=ran_seconds)
    assert follows == decide(spent, end, NOW)[-1].TYPE


def test_a_success_that_has_spent_its_budget_gives_nothing_up() -> None:
    """It has done what it was for; that it was to go on for ever is no failure."""
    rule = RestartRule(mode="always", max_restarts=1)
    spent = replace(after([STARTED, RUNNING], rule=rule), restarts_used=1)
    assert decide(spent, replace(EXIT, exit=ExitedWithCode(code=0)), NOW)[-1].TYPE == "COMPLETED"


@pytest.mark.parametrize("reason", [None, "by hand"])
def test_who_asks_for_another_attempt_may_say_why(reason: str | None) -> None:
    """And else it is said that somebody asked."""
    (follows,) = decide(STATES["failed"], do.Restart(reason=reason), NOW)
    assert isinstance(follows, RestartScheduled)
    assert follows.reason == (reason or "restart requested")
    assert (follows.delay_seconds, follows.due_at, follows.used) == (0.0, NOW, 0)  # at once, on no budget


def test_a_spent_budget_is_said() -> None:
    """Two restarts and no more: then RESTART_GIVEN_UP."""
    rule = RestartRule(mode="on-failure", max_restarts=2)
    state: AgentState | None = after([STARTED, RUNNING], rule=rule)
    assert state is not None
    again = replace(SPAWN, spec=state.spec)
    seen = []
    for attempt in (1, 2, 3):
        events = decide(state, EXIT, NOW)
        seen.append(events[-1].TYPE)
        state = fold(state, events)
        if attempt < 3:
            state = fold(state, decide(state, again, NOW))
            state = fold(state, decide(state, do.ConfirmStarted(process=PROCESS), T0))
    assert seen == ["RESTART_SCHEDULED", "RESTART_SCHEDULED", "RESTART_GIVEN_UP"]
    assert state is not None
    assert state.is_final


def test_a_program_that_cannot_be_executed_is_not_tried_again() -> None:
    """No such file stays no such file: the policy does not apply to failed starts of that kind."""
    state = after([], rule=RestartRule(mode="always"))
    assert [e.TYPE for e in decide(state, COMMANDS["failed start"], NOW)] == ["FAILED"]


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (do.ReportFailedStart(phase="exec", errno=2, message="No such file or directory"), "cannot execute "),
        (do.ReportFailedStart(phase="shim", errno=None, message="the shim ended"), "the shim ended"),
    ],
)
def test_a_start_that_failed_says_what_could_not_be_done(failure: do.ReportFailedStart, message: str) -> None:
    """Where the system refused something; what we say ourselves is said as it is."""
    (failed,) = decide(STATES["requested"], failure, NOW)
    assert isinstance(failed, AgentFailed)
    assert failed.message.startswith(message)
    assert failed.message.endswith(failure.message)
