"""What an end means: COMPLETED, FAILED, CANCELLED, KILLED or LOST."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore.errors import InvalidRequest
from eventstore.events import AgentEvent
from eventstore.payloads import Payload
from eventstore.state import Ended
from eventstore.values import ExitedBySignal, ExitedWithCode, ExitUnknown
from manager import commands as do
from manager.decide import decide
from manager.judge import judge
from tests.support.states import KILL, RUNNING, SECOND, STARTED, STATES, T0, after, asked, term

NOW = T0 + 60 * SECOND  # after every deadline in STATES

# how it ended × who asked → outcome; one row each
VERDICTS = [
    ("an exit code 0 that nobody asked for", [STARTED, RUNNING], ExitedWithCode(code=0), "COMPLETED"),
    ("another code", [STARTED, RUNNING], ExitedWithCode(code=3), "FAILED"),
    ("code 137 is a code, no signal", [STARTED, RUNNING], ExitedWithCode(code=137), "FAILED"),
    ("a signal of somebody else", [STARTED, RUNNING], ExitedBySignal(signal=9, core_dumped=False), "FAILED"),
    (
        "SIGTERM of ours",
        [STARTED, RUNNING, asked(), term()],
        ExitedBySignal(signal=15, core_dumped=False),
        "CANCELLED",
    ),
    ("it left in order", [STARTED, RUNNING, asked(), term()], ExitedWithCode(code=0), "CANCELLED"),
    ("it left with an error", [STARTED, RUNNING, asked(), term()], ExitedWithCode(code=1), "CANCELLED"),
    (
        "SIGKILL of ours",
        [STARTED, RUNNING, asked(), term(), term(2), KILL],
        ExitedBySignal(signal=9, core_dumped=False),
        "KILLED",
    ),
    (
        "a forced kill",
        [STARTED, RUNNING, asked(forced=True), KILL],
        ExitedBySignal(signal=9, core_dumped=False),
        "KILLED",
    ),
    (
        "SIGKILL before ours was sent",
        [STARTED, RUNNING, asked(), term()],
        ExitedBySignal(signal=9, core_dumped=False),
        "CANCELLED",
    ),
    (
        "nobody saw it",
        [STARTED, RUNNING],
        ExitUnknown(reason="shim lost", not_before_at=None, not_after_at=None),
        "LOST",
    ),
    (
        "a limit ended it",
        [STARTED, RUNNING, asked(cause="limit"), term()],
        ExitedBySignal(signal=15, core_dumped=False),
        "FAILED",
    ),
    (
        "its health ended it",
        [STARTED, RUNNING, asked(cause="health"), term()],
        ExitedBySignal(signal=15, core_dumped=False),
        "FAILED",
    ),
]


@pytest.mark.parametrize(("why", "history", "exit_", "outcome"), VERDICTS, ids=[row[0] for row in VERDICTS])
def test_the_outcome_of_an_end(why: str, history: list[AgentEvent], exit_: Any, outcome: str) -> None:
    """COMPLETED, FAILED, CANCELLED, KILLED or LOST: by what was asked for, and what was seen."""
    events = decide(
        after(history), do.ObserveExit(exit=exit_, ended_at=NOW, reaped_by="shim", source="shim record"), NOW
    )
    assert [event.TYPE for event in events] == ["ZOMBIE_REAPED", outcome], why


@pytest.mark.parametrize(
    ("exit_", "oom_killed", "cause"),
    [
        (ExitedBySignal(signal=9, core_dumped=False), True, "oom"),
        (ExitedBySignal(signal=9, core_dumped=False), False, "signal"),
        (ExitedBySignal(signal=9, core_dumped=False), None, "signal"),  # not known
        (ExitedBySignal(signal=11, core_dumped=False), True, "signal"),  # another of its processes was killed
        (ExitedWithCode(code=1), True, "exit"),  # as well
    ],
)
def test_want_of_memory_is_a_cause_where_it_is_evident(
    exit_: Any, oom_killed: bool | None, cause: str
) -> None:
    """A SIGKILL that the kernel is known to have sent for want of memory is told as such, and no other end is."""
    observed = do.ObserveExit(
        exit=exit_, ended_at=NOW, reaped_by="shim", source="shim record", oom_killed=oom_killed
    )
    verdict = decide(after([STARTED, RUNNING]), observed, NOW)[-1]
    assert (verdict.TYPE, verdict.cause) == ("FAILED", cause)  # type: ignore[union-attr]


def test_an_end_inside_the_start_window_is_a_failed_start() -> None:
    """An agent that fails at once was never up: FAILED as a failed start, with its last words."""
    payload = Payload("x", b"salt", "boom")
    early = do.ObserveExit(
        exit=ExitedWithCode(code=3),
        ended_at=T0 + 50_000,
        reaped_by="shim",
        source="shim record",
        last_output=payload,
    )
    _, verdict = decide(STATES["starting"], early, T0 + 60_000)
    assert (verdict.TYPE, verdict.cause, verdict.last_output) == ("FAILED", "failed start", payload.reference)  # type: ignore[union-attr]


def test_nothing_is_judged_before_its_exit_is_recorded() -> None:
    """Whoever asks for a verdict without one is told so."""
    state = STATES["failed start"]
    assert state is not None
    assert isinstance(state.phase, Ended)
    with pytest.raises(InvalidRequest, match="its exit is not recorded"):
        judge(state, state.phase)


def test_a_success_inside_the_start_window_is_a_success() -> None:
    """`true` may take less than the window."""
    quick = do.ObserveExit(
        exit=ExitedWithCode(code=0), ended_at=T0 + 5_000, reaped_by="shim", source="shim record"
    )
    assert [e.TYPE for e in decide(STATES["starting"], quick, T0 + 60_000)] == ["ZOMBIE_REAPED", "COMPLETED"]


def test_success_codes_are_the_agents_own() -> None:
    """`--success-codes 0,3` makes 3 a success, and only that."""
    for code, outcome in ((3, "COMPLETED"), (4, "FAILED")):
        state = after([STARTED, RUNNING], success_codes=(0, 3))
        events = decide(
            state,
            do.ObserveExit(
                exit=ExitedWithCode(code=code), ended_at=NOW, reaped_by="shim", source="shim record"
            ),
            NOW,
        )
        assert outcome == events[-1].TYPE
