"""Why an attempt ended: for each history the cause, and how certain it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from eventstore import events as ev
from eventstore.values import Exit, ExitedBySignal, ExitedWithCode, ExitUnknown
from manager.why.history import histories
from manager.why.material import Entry
from manager.why.parts import Cause, Verdict
from manager.why.verdict import verdict
from tests.support.histories import reaped, spawning
from tests.support.rows import coordinator, entries
from tests.support.states import KILL, NEVER_STARTED, RUNNING, SECOND, STARTED, T0, asked, term

LIFE: list[ev.Event] = [spawning(), STARTED, RUNNING]  # at T0, T0 + 1 s and T0 + 2 s
LOST = ev.AgentLost(attempt=1, reason="shim lost")
GONE = ExitUnknown(reason="shim lost", not_before_at=None, not_after_at=None)
HUP = ev.SignalSent(attempt=1, signal=1, reason="reload")


def by(number: int) -> ExitedBySignal:
    """An end by a signal."""
    return ExitedBySignal(signal=number, core_dumped=False)


def code(number: int) -> ExitedWithCode:
    """An end with a code."""
    return ExitedWithCode(code=number)


def end(exit_: Exit, *, second: float = 9.0, oom_killed: bool | None = None) -> ev.ZombieReaped:
    """The end, seen so many seconds after the beginning."""
    seen = not isinstance(exit_, ExitUnknown)
    at = T0 + round(second * SECOND) if seen else None
    return replace(reaped(1, exit_), ended_at=at, oom_killed=oom_killed)


def failed(cause: Any) -> ev.AgentFailed:
    """The coordinator's verdict."""
    return ev.AgentFailed(attempt=1, cause=cause, message="m", phase=None, errno=None, last_output=None)


CANCELLED = ev.AgentCancelled(attempt=1)
KILLED = ev.AgentKilled(attempt=1)
OTHER = "signal by someone else"
ROWS: list[tuple[str, list[ev.Event], str, str]] = [
    ("it goes on", LIFE, "still running", "likely"),
    ("a success code", [*LIFE, end(code(0)), ev.AgentCompleted(attempt=1)], "completed", "certain"),
    ("another code", [*LIFE, end(code(3)), failed("exit")], "exit", "certain"),
    ("no program", [spawning(), NEVER_STARTED], "failed start", "certain"),
    ("too short", [spawning(), STARTED, end(code(1)), failed("failed start")], "failed start", "certain"),
    ("the kernel", [*LIFE, end(by(9), oom_killed=True), failed("oom")], "oom", "certain"),
    ("SIGKILL, memory excluded", [*LIFE, end(by(9), oom_killed=False), failed("signal")], OTHER, "likely"),
    ("SIGKILL, memory not excluded", [*LIFE, end(by(9)), failed("signal")], OTHER, "likely"),
    ("a fault", [*LIFE, end(by(11)), failed("signal")], OTHER, "certain"),
    ("our SIGTERM", [*LIFE, asked(), term(), end(by(15)), CANCELLED], "signal by us", "certain"),
    ("our SIGKILL", [*LIFE, asked(), term(), KILL, end(by(9)), KILLED], "signal by us", "certain"),
    ("it left at our word", [*LIFE, asked(), term(), end(code(0)), CANCELLED], "signal by us", "likely"),
    ("SIGKILL, only SIGTERM was ours", [*LIFE, asked(), term(), end(by(9)), CANCELLED], OTHER, "likely"),
    ("gone before our signal", [*LIFE, asked(), term(), end(code(3), second=2.5), CANCELLED], "exit", "certain"),
    ("SIGTERM before ours", [*LIFE, asked(), term(), end(by(15), second=2.5), CANCELLED], OTHER, "likely"),
    ("an ordered signal", [*LIFE, HUP, end(by(1), second=3.1), failed("signal")], "signal by us", "certain"),
    ("long after an ordered signal", [*LIFE, HUP, end(by(1), second=99), failed("signal")], "signal by us", "likely"),
    ("a code after an ordered signal", [*LIFE, HUP, end(code(1), second=3.1), failed("exit")], "exit", "certain"),
    ("a limit", [*LIFE, asked(cause="limit"), term(), end(by(15)), failed("limit")], "limit", "certain"),
    ("its health", [*LIFE, asked(cause="health"), term(), end(by(15)), failed("health")], "health", "certain"),
    ("nobody saw", [*LIFE, end(GONE), LOST], "unknown", "unknown"),
    ("it may never have run", [spawning(), LOST], "unknown", "unknown"),
    ("not judged yet", [*LIFE, end(code(3))], "exit", "certain"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "cause", "certainty"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_each_end_has_its_cause(events: list[ev.Event], cause: str, certainty: str) -> None:
    """The cause is of the closed set, and each verdict names rows of the log, or says what is not known."""
    found = _of(events)
    assert (found.cause, found.certainty) == (cause, certainty)
    assert found.evidence
    assert all(one.positions or one.source in ("nobody", "look") for one in found.evidence)


def test_a_cause_had_another_name_where_it_was_printed() -> None:
    """Each has one name: in the document, in JSON and in print."""
    document = (Path(__file__).parents[2] / "docs" / "post-mortem.md").read_text(encoding="utf-8")
    table = document.partition("## The causes")[2].partition("\n## ")[0]
    first = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert sorted(name for cell in first for name in re.findall(r"`(.+?)`", cell)) == sorted(get_args(Cause))


def test_a_failed_start_spoke_of_want_of_memory() -> None:
    """Only where the kernel may have killed it."""
    for exit_, oom_killed, says in ((code(1), None, False), (by(9), None, True), (by(15), True, True)):
        found = _of([spawning(), STARTED, end(exit_, oom_killed=oom_killed), failed("failed start")])
        assert any("want of memory" in one.text for one in found.evidence) == says


@pytest.mark.parametrize(
    ("oom_killed", "said"),
    [
        (None, "could not be seen"),
        (True, "killed a process of its tree"),
        (False, "did not kill a process of its tree"),
    ],
)
def test_a_shell_whose_child_was_killed_ended_for_no_reason(oom_killed: bool | None, said: str) -> None:
    """137 is what a shell ends with when its child was ended by SIGKILL, as the kernel does it; others say less."""
    found = _of([*LIFE, end(code(137), oom_killed=oom_killed), failed("exit")])
    texts = [one.text for one in found.evidence]
    assert (found.cause, found.certainty) == ("exit", "certain")
    assert any("ended by signal 9" in text for text in texts)
    assert any(said in text for text in texts)
    found = _of([*LIFE, end(code(143)), failed("exit")])
    assert any("ended by signal 15" in one.text for one in found.evidence)
    assert not any("memory" in one.text for one in found.evidence)
    found = _of([*LIFE, end(code(3)), failed("exit")])
    assert not any("shell" in one.text for one in found.evidence)


def test_another_boot_makes_it_the_host() -> None:
    """The boot ids decide, of the start and of the coordinator that looked, and not the words of the reason."""
    life = [*LIFE, end(GONE), LOST]
    same, other = coordinator(epoch=1, position=90), coordinator(epoch=1, boot_id="another", position=91)
    assert _of(life, same).cause == "unknown"
    found = _of(life, other)
    assert (found.cause, found.certainty) == ("host lost", "likely")
    assert {1, 91} <= {position for one in found.evidence for position in one.positions}
    assert (
        _of(life, coordinator(epoch=2, boot_id="another", position=92)).cause == "unknown"
    )  # it did not look


def test_a_process_that_is_not_seen_is_not_said_to_run() -> None:
    """The log has no end of it, and nobody sees it: that is not known, and so it is told."""
    history = histories(entries(LIFE))[1]
    assert verdict(history, (), is_alive=True).certainty == "certain"
    assert verdict(history, (), is_alive=False).certainty == "unknown"
    assert verdict(history, ()).certainty == "likely"  # nobody looked: as for a time long ago


def test_an_event_of_a_newer_version_takes_nothing_away() -> None:
    """What this version does not know is carried along."""
    known = entries([*LIFE, end(code(3)), failed("exit")])
    strange = Entry(known[2].row._replace(type="TELEPORTED", data="{}"), {})
    assert verdict(histories([*known[:3], strange, *known[3:]])[1], ()).cause == "exit"


def _of(events: list[ev.Event], *home: Entry) -> Verdict:
    return verdict(histories(entries(events))[1], home)


def test_a_signal_that_was_recorded_after_the_end_had_certainly_been_announced() -> None:
    """A stop on a full disk goes before its record: that it was the end is likely, and what tells of it is said."""
    reaped = replace(end(by(15), second=4.5), is_recovered=True)
    rows = entries([*LIFE, asked(), term(), reaped, CANCELLED])
    late = [Entry.of(row.row._replace(recorded_at=T0 + 60 * SECOND)) for row in rows[3:]]
    found = verdict(histories([*rows[:3], *late])[1], ())
    assert (found.cause, found.certainty) == ("signal by us", "likely")
    said = [one.text for one in found.evidence]
    assert any("its record was made after the end, by a mark or from memory" in text for text in said)
    assert not any("announced by us" in text or "no coordinator ran" in text for text in said)
