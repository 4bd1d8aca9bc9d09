"""One agent in every state that the lifecycle has, made by folding a real history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eventstore import events as ev
from eventstore.lifecycle import evolve
from eventstore.state import AgentState
from eventstore.values import ExitedBySignal, ExitedWithCode, ExitUnknown, RestartRule
from tests.support.histories import PROCESS, SPEC, reaped, spawning

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND  # the time of the first event of every history here
STARTED = ev.AgentStarted(attempt=1, process=PROCESS)
RUNNING = ev.AgentRunning(attempt=1, evidence="alive 0.1 s after its start")
GRACE = (10.0, 5.0, 5.0)


def asked(*, forced: bool = False, cause: Any = "user") -> ev.StopRequested:
    """A stop request with the usual waits."""
    return ev.StopRequested(attempt=1, cause=cause, reason=None, forced=forced, grace_seconds=GRACE)


def term(stage: Any = 1) -> ev.SigtermSent:
    """SIGTERM, whose wait ends ten seconds after the start of the history."""
    return ev.SigtermSent(attempt=1, stage=stage, deadline_at=T0 + 10 * SECOND)


KILL = ev.SigkillSent(attempt=1, deadline_at=T0 + 10 * SECOND)


def ended(
    exit_: ExitedWithCode | ExitedBySignal | ExitUnknown, at: int | None = T0 + SECOND
) -> ev.ZombieReaped:
    """The end of the process."""
    return replace(reaped(1, exit_), ended_at=at)


def after(history: Sequence[ev.AgentEvent], *, rule: RestartRule | None = None, **spec: Any) -> AgentState:
    """The state after SPAWNING and `history`, all at T0; the spec has no restart policy unless `rule` says so."""
    first = replace(spawning(), spec=replace(SPEC, restart=rule or RestartRule(), **spec))
    state = evolve(None, first, T0)
    for event in history:
        state = evolve(state, event, T0)
    return state


SCHEDULED = ev.RestartScheduled(
    attempt=1, next_attempt=2, delay_seconds=4.0, due_at=T0 + 4 * SECOND, used=1, reason="policy after FAILED"
)
FAILED = ev.AgentFailed(
    attempt=1, cause="exit", message="ended with exit code 7", phase=None, errno=None, last_output=None
)
NEVER_STARTED = replace(FAILED, cause="failed start", message="cannot execute x", phase="exec", errno=2)
SEVEN = ExitedWithCode(code=7)

STATES: dict[str, AgentState | None] = {
    "new": None,
    "requested": after([]),
    "starting": after([STARTED]),
    "running": after([STARTED, RUNNING]),
    "asked to stop": after([STARTED, RUNNING, asked()]),
    "stopping 1": after([STARTED, RUNNING, asked(), term(1)]),
    "stopping 2": after([STARTED, RUNNING, asked(), term(1), term(2)]),
    "stopping 3": after([STARTED, RUNNING, asked(), term(1), term(2), KILL]),
    "stop timed out": after(
        [STARTED, RUNNING, asked(forced=True), KILL, ev.StopTimedOut(attempt=1, detail="")]
    ),
    "exited": after([STARTED, RUNNING, ended(SEVEN)]),
    "failed": after([STARTED, RUNNING, ended(SEVEN), FAILED]),
    "failed start": after([NEVER_STARTED]),
    "completed": after([STARTED, RUNNING, ended(ExitedWithCode(code=0)), ev.AgentCompleted(attempt=1)]),
    "lost": after([ev.AgentLost(attempt=1, reason="the host was restarted")]),
    "waiting": after([STARTED, RUNNING, ended(SEVEN), FAILED, SCHEDULED]),
}
