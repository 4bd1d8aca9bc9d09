"""Believed and observed: the table in `manager.recovery`, row by row, and that asking again changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eventstore.lifecycle import evolve
from eventstore.state import AgentState, Live
from eventstore.values import ExitedBySignal, ExitedWithCode, ExitUnknown, RestartRule
from manager import commands as do
from manager.decide import decide
from manager.recovery import ExitRecord, FailedExec, Observed, conclude
from tests.support.histories import PROCESS
from tests.support.states import RUNNING, SECOND, STARTED, STATES, T0, after, asked, term

NOW = T0 + 3600 * SECOND
EXIT = ExitRecord(exit=ExitedWithCode(code=7), ended_at=T0 + 60 * SECOND, leftovers=())
NOTHING = Observed(
    observed_at=NOW,
    is_recovery=True,
    is_same_boot=True,
    directory="present",
    is_shim_alive=False,
    identity=None,
    is_identity_damaged=False,
    has_executed=None,
    failed_exec=None,
    exit=None,
    process="gone",
    evidence="no process has pid 4711",
)
KNOWN = replace(NOTHING, identity=PROCESS, executed_at=T0)


def _see(base: Observed = NOTHING, **changes: Any) -> Observed:
    return replace(base, **changes)


REQUESTED = STATES["requested"]
LIVE = STATES["running"]
STOPPING = after([STARTED, RUNNING, asked(), term()])
ORDER = do.RecalledOrder(
    actor="somebody", correlation_id="c", cause="user", reason=None, grace_seconds=(1.0, 1.0, 1.0)
)
ORDERED = do.RecallSignal(at=T0 + SECOND, stage=1, order=ORDER)
LAST = do.RecallSignal(at=T0 + 3 * SECOND, stage=3)
CALLED_OFF = do.RecallSignal(at=T0 + 4 * SECOND, stage=0, order=ORDER)

# (row of the table, believed, observed, commands, watched on, counted as)
ROWS: list[tuple[str, Any, Observed | None, str, bool, str]] = [
    (
        "no directory: claimed now",
        REQUESTED,
        _see(directory="claimed"),
        "ReportFailedStart",
        False,
        "never started",
    ),
    (
        "no directory, host restarted",
        REQUESTED,
        _see(directory="claimed", is_same_boot=False),
        "DeclareLost",
        False,
        "lost",
    ),
    ("shim at work, no identity yet", REQUESTED, _see(is_shim_alive=True), "", True, "pending"),
    (
        "shim at work, gate not open",
        REQUESTED,
        _see(KNOWN, is_shim_alive=True, process="same", has_executed=False),
        "",
        True,
        "pending",
    ),
    (
        "executed, shim there",
        REQUESTED,
        _see(KNOWN, is_shim_alive=True, process="same", has_executed=True),
        "ConfirmStarted Reattach",
        True,
        "reattached",
    ),
    (
        "executed, shim lost",
        REQUESTED,
        _see(KNOWN, process="same", has_executed=True),
        "ConfirmStarted Reattach",
        True,
        "reattached",
    ),
    (
        "shim lost, child at the gate",
        REQUESTED,
        _see(KNOWN, process="same", has_executed=False),
        "",
        True,
        "pending",
    ),
    ("ended, recorded", REQUESTED, _see(KNOWN, exit=EXIT), "ConfirmStarted ObserveExit", False, "ended"),
    (
        "ended before a reboot, recorded",
        REQUESTED,
        _see(KNOWN, exit=EXIT, is_same_boot=False),
        "ConfirmStarted ObserveExit",
        False,
        "ended",
    ),
    ("shim gone before the gate", REQUESTED, _see(), "ReportFailedStart", False, "never started"),
    ("identity damaged", REQUESTED, _see(is_identity_damaged=True), "DeclareLost", False, "lost"),
    (
        "identity damaged, its marks are seen",
        REQUESTED,
        _see(is_identity_damaged=True, process="unproved"),
        "",
        True,
        "pending",
    ),
    ("shim and process gone, no record", REQUESTED, _see(KNOWN), "DeclareLost", False, "lost"),
    (
        "exec failed",
        REQUESTED,
        _see(KNOWN, failed_exec=FailedExec(phase="exec", errno=2, message="No such file")),
        "ReportFailedStart",
        False,
        "never started",
    ),
    ("host restarted", REQUESTED, _see(KNOWN, is_same_boot=False), "DeclareLost", False, "lost"),
    ("exit record", LIVE, _see(KNOWN, exit=EXIT), "ObserveExit", False, "ended"),
    (
        "exit record of before a reboot",
        LIVE,
        _see(KNOWN, exit=EXIT, is_same_boot=False),
        "ObserveExit",
        False,
        "ended",
    ),
    (
        "shim holds its lock",
        LIVE,
        _see(KNOWN, is_shim_alive=True, process="same"),
        "Reattach",
        True,
        "reattached",
    ),
    ("shim gone, process the same", LIVE, _see(KNOWN, process="same"), "Reattach", True, "reattached"),
    ("shim gone, process gone", LIVE, _see(KNOWN), "ObserveExit", False, "lost"),
    ("shim gone, cannot be proved", LIVE, _see(KNOWN, process="unproved"), "", True, "pending"),
    ("other boot id", LIVE, _see(KNOWN, is_same_boot=False), "ObserveExit", False, "lost"),
    (
        "exit record damaged",
        LIVE,
        _see(KNOWN, exit=ExitRecord(exit=None, is_damaged=True)),
        "ObserveExit",
        False,
        "lost",
    ),
    (
        "exit record damaged, process the same",
        LIVE,
        _see(KNOWN, exit=ExitRecord(exit=None, is_damaged=True), process="same"),
        "Reattach",
        True,
        "reattached",
    ),
    (
        "stopping, shim there",
        STOPPING,
        _see(KNOWN, is_shim_alive=True, process="same"),
        "Reattach",
        True,
        "reattached",
    ),
    ("stopping, ended meanwhile", STOPPING, _see(KNOWN, exit=EXIT), "ObserveExit", False, "ended"),
    ("exited, not judged", STATES["exited"], None, "ObserveExit", False, "ended"),
    ("backing off", STATES["waiting"], None, "", True, "waiting"),
    (
        "stopped without a record, ended",
        LIVE,
        _see(KNOWN, exit=EXIT, recalled=(ORDERED, LAST)),
        "RecallSignal RecallSignal ObserveExit",
        False,
        "ended",
    ),
    (
        "stopped without a record, lives",
        LIVE,
        _see(KNOWN, is_shim_alive=True, recalled=(ORDERED,)),
        "RecallSignal Reattach",
        True,
        "reattached",
    ),
    (
        "started, stopped and ended without a record, a restart called off",
        REQUESTED,
        _see(KNOWN, exit=EXIT, recalled=(CALLED_OFF, ORDERED)),
        "ConfirmStarted RecallSignal ObserveExit RecallSignal",
        False,
        "ended",
    ),
]
_IDS = [row[0] for row in ROWS]


@pytest.mark.parametrize(
    ("believed", "observed", "commands", "watch", "counts_as"), [row[1:] for row in ROWS], ids=_IDS
)
def test_the_table(
    *, believed: AgentState, observed: Observed | None, commands: str, watch: bool, counts_as: str
) -> None:
    """Each row of the table: what a new coordinator does about one agent, and how it counts it."""
    found = conclude(believed, observed, unwatched_seconds=5.0)
    assert " ".join(type(command).__name__ for command in found.commands) == commands
    assert (found.watch, found.counts_as) == (watch, counts_as)


@pytest.mark.parametrize(("believed", "observed"), [row[1:3] for row in ROWS], ids=_IDS)
def test_recovering_twice_is_recovering_once(believed: AgentState, observed: Observed | None) -> None:
    """Concluded, carried out, concluded again on the same sight: nothing new, but for saying that it is watched."""
    state = _carry_out(believed, observed)
    if state.is_final:
        return
    again = _carry_out(state, observed)
    assert replace(again, version=0) == replace(state, version=0)


@pytest.mark.parametrize(("believed", "observed"), [row[1:3] for row in ROWS], ids=_IDS)
def test_a_crash_between_two_commands(believed: AgentState, observed: Observed | None) -> None:
    """Killed after any of its commands, a recovery that is done again comes to the same end."""
    whole = _carry_out(believed, observed)
    commands = conclude(believed, observed, unwatched_seconds=5.0).commands
    for done in range(len(commands)):
        state = believed
        for command in commands[:done]:
            state = _apply(state, command)
        assert _carry_out(state, observed).state == whole.state


def test_a_stop_that_only_a_mark_tells_of_is_no_failure() -> None:
    """Ended by our SIGKILL, of which the log had nothing: killed, by order, and not started again."""
    dead = replace(EXIT, exit=ExitedBySignal(signal=9, core_dumped=False))
    believed = after([STARTED, RUNNING], rule=RestartRule(mode="always"))
    assert _carry_out(believed, _see(KNOWN, exit=dead)).state == "BACKOFF"
    assert _carry_out(believed, _see(KNOWN, exit=dead, recalled=(ORDERED, LAST))).state == "KILLED"


def test_a_restart_that_only_a_mark_calls_off_does_not_come() -> None:
    """Its stop was under way when the agent was stopped for good, and the log could not be written."""
    state = after([STARTED, RUNNING, asked(cause="restart"), term()])
    lives = _see(KNOWN, is_shim_alive=True, process="same", recalled=(CALLED_OFF,))
    assert _carry_out(state, _see(KNOWN, exit=EXIT, recalled=(CALLED_OFF,))).state == "CANCELLED"
    assert _carry_out(_carry_out(state, lives), _see(KNOWN, exit=EXIT)).state == "CANCELLED"
    assert _carry_out(after([STARTED, RUNNING]), lives).state == "RUNNING"


@pytest.mark.parametrize(
    ("mark", "counts"),
    [
        (CALLED_OFF, True),
        (replace(CALLED_OFF, at=T0), True),  # at the moment from which it waits
        (replace(CALLED_OFF, at=T0 - 1), False),  # a later order has made it wait again
        (LAST, False),  # a signal to the attempt before
    ],
)
def test_an_attempt_to_come_is_called_off_by_news_alone(mark: do.RecallSignal, counts: bool) -> None:
    """What a mark tells of before the agent waited is in the log already."""
    waiting = STATES["waiting"]
    assert waiting is not None
    found = conclude(waiting, None, unwatched_seconds=5.0, recalled=(mark,))
    assert found.commands == ((mark,) if counts else ())


def test_an_unknown_exit_has_its_bounds() -> None:
    """What nobody saw is unknown, with the reason, and between which two moments it must have been.

    It lay after its start; that it ran later than that, which RUNNING says, was forgotten.
    """
    believed = after([STARTED, RUNNING])
    assert isinstance(believed.phase, Live)
    believed = replace(believed, phase=replace(believed.phase, running_at=T0 + SECOND))
    (command,) = conclude(believed, _see(KNOWN), unwatched_seconds=5.0).commands
    assert isinstance(command, do.ObserveExit)
    assert command.exit == ExitUnknown(
        reason="shim lost: nobody saw the exit", not_before_at=T0 + SECOND, not_after_at=NOW
    )
    assert (command.reaped_by, command.source, command.is_tree_complete) == ("nobody", "none", False)


@pytest.mark.parametrize(("source", "reaper"), [("shim record", "shim"), ("pidfd", "init")])
def test_who_reaped_it_follows_from_who_tells(source: Any, reaper: str) -> None:
    """A shim writes its record and reaps; what the kernel tells of an orphan is that init has reaped it."""
    seen = _see(KNOWN, exit=ExitRecord(exit=ExitedWithCode(code=7), source=source))
    (command,) = conclude(after([STARTED, RUNNING]), seen, unwatched_seconds=1.0).commands
    assert isinstance(command, do.ObserveExit)
    assert (command.reaped_by, command.source) == (reaper, source)


def test_a_start_found_late_is_dated_as_it_was() -> None:
    """STARTED, recorded an hour later by a recovery, carries the time at which the program was executed."""
    found = conclude(REQUESTED, _see(KNOWN, exit=EXIT), unwatched_seconds=5.0)  # type: ignore[arg-type]
    assert isinstance(found.commands[0], do.ConfirmStarted)
    assert found.commands[0].executed_at == T0


def _carry_out(state: AgentState, observed: Observed | None) -> AgentState:
    for command in conclude(state, observed, unwatched_seconds=5.0).commands:
        state = _apply(state, command)
    return state


def _apply(state: AgentState, command: do.Command) -> AgentState:
    for event in decide(state, command, NOW):
        state = evolve(state, event, NOW)
    return state
