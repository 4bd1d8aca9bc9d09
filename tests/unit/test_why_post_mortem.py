"""What a post-mortem tells beside the cause: who asked, how memory went, what followed, what is alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eventstore import events as ev
from eventstore.home_events import CoordinatorStarted, CoordinatorStopped
from eventstore.payloads import Found
from eventstore.record import Head, rfc3339
from eventstore.values import ExitedWithCode, ExitUnknown, Health
from manager.process import sweep
from manager.statusfiles import describe
from manager.why.document import as_json
from manager.why.history import History, histories
from manager.why.material import Entry, Material, OtherFailure, Sample
from manager.why.parts import LeftOver
from manager.why.post_mortem import FIRST_EVENTS, MOST_EVENTS, post_mortem, trend
from manager.why.sections import sections
from manager.why.words import ended_text, followed_text, left_over_text, summary, trend_text
from projections.sentences import MOST_LEFT_OVER, sentence
from tests.support.histories import PROCESS, reaped, spawning
from tests.support.rows import entries
from tests.support.states import RUNNING, SECOND, STARTED, T0, after

SEVEN = ExitedWithCode(code=7)
FAILED = ev.AgentFailed(
    attempt=1, cause="exit", message="ended with exit code 7", phase=None, errno=None, last_output=None
)
FIRST: list[ev.Event] = [spawning(), STARTED, RUNNING, reaped(1, SEVEN), FAILED]
DUE = ev.RestartScheduled(
    attempt=1, next_attempt=2, delay_seconds=1.0, due_at=T0 + 9 * SECOND, used=1, reason="policy after FAILED"
)
GIVEN_UP = ev.RestartGivenUp(attempt=1, used=3, reason="3 restarts are used up")
CALLED_OFF = ev.AgentCancelled(attempt=1, reason="not today")
SECOND_LIFE: list[ev.Event] = [
    spawning(2),
    ev.AgentStarted(attempt=2, process=PROCESS),
    ev.AgentRunning(attempt=2, evidence="alive"),
]


def material(events: list[ev.Event], **known: object) -> Material:
    """Of the agent "x" with these events, and nothing else."""
    rows = entries(events)
    nothing = Material(
        agent_id="x",
        name="builder",
        entries=rows,
        home=(),
        samples=(),
        failures=(),
        is_all_failures=True,
        last_output={},
        is_alive=None,
        head=Head(rows[-1].position, rows[-1].row.hash, rows[-1].row.recorded_at),
        outside=None,
        checkpoint=None,
    )
    return replace(nothing, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "what", "words"),
    [
        ([], "nothing", "nothing: no further attempt was made"),
        ([DUE], "restart due", "attempt 2 is due, 1.0s after its end"),
        (
            [DUE, CALLED_OFF],
            "cancelled",
            "a further attempt was due, and was called off by coordinator: not today",
        ),
        ([GIVEN_UP], "gave up", "no further attempt: 3 restarts are used up"),
        ([DUE, *SECOND_LIFE], "restart", "attempt 2 was started: it is RUNNING as far as is recorded"),
    ],
)
def test_what_followed(after: list[ev.Event], what: str, words: str) -> None:
    """The last word after the end counts."""
    followed = post_mortem(material([*FIRST, *after]), 1).followed
    assert (followed.what, followed_text(followed)) == (what, words)


def test_an_attempt_that_was_called_off_does_not_change_how_the_one_before_ended() -> None:
    """CANCELLED after FAILED ends the agent; the attempt has failed all the same."""
    found = post_mortem(material([*FIRST, DUE, CALLED_OFF]))
    assert (found.state, found.verdict.cause) == ("FAILED", "exit")


def test_what_runs_tells_of_the_last_failure_and_where_it_began() -> None:
    """The last attempt is the one that is told of, with who started the agent first, and what failed before."""
    found = post_mortem(material([*FIRST, DUE, *SECOND_LIFE], last_output={1: Found(("error: no lock",))}))
    assert (found.attempt, found.attempts, found.verdict.cause) == (2, 2, "still running")
    assert found.last_failure is not None
    assert (found.last_failure.attempt, found.last_failure.error_line) == (1, "error: no lock")
    assert found.asked[0].position == 1
    with pytest.raises(KeyError):
        post_mortem(material(FIRST), 2)


def test_the_trend_of_memory_is_that_of_all_samples() -> None:
    """A straight line has its slope; one sample, or samples that saw nothing, have none."""
    samples = [Sample(1, T0 + n * SECOND, 50.0 + n, (10 + n) << 20, 1, 1) for n in range(11)]
    found = trend(samples)
    assert found is not None
    assert (found.memory_bytes_per_second, found.memory_most_bytes, found.cpu_mean_percent) == (
        1 << 20,
        20 << 20,
        55.0,
    )
    assert trend_text(found) == [
        "memory rose from 10.0M to 20.0M in 10s, 1.0M a second; 20.0M at most (11 samples)",
        "CPU 55.0 % on average, 60.0 % at last",
    ]
    assert trend([]) is None
    alone = trend(samples[:1])
    assert alone is not None
    assert alone.memory_bytes_per_second is None
    assert trend_text(alone) == ["in its only sample: memory 10.0M, CPU 50.0 %"]
    blind = trend([sample._replace(memory_bytes=None, cpu_percent=None) for sample in samples])
    assert blind is not None
    assert trend_text(blind) == []


def test_very_many_events_are_shown_in_part() -> None:
    """How it began, and the last ones; how many are left out is told."""
    flapping: list[ev.Event] = [
        ev.HealthChanged(
            attempt=1,
            previous=Health.HEALTHY,
            health=(Health.DEGRADED, Health.HEALTHY)[n % 2],
            evidence=str(n),
        )
        for n in range(1000)
    ]
    found = post_mortem(material([*FIRST[:3], *flapping, *FIRST[3:]]))
    assert len(found.events) + found.omitted_events == 1005
    assert len(found.events) == MOST_EVENTS
    positions = [entry.position for entry in found.events]
    assert positions[:FIRST_EVENTS] == [1, 2, 3, 4]
    assert positions[-1] == 1005


def test_failures_that_are_alike() -> None:
    """The same cause, exit and error line but for numbers: newest first, its own one not counted."""
    lines = Found(("error in row 3",))
    others = [_other(f"o{n}", 100 * n, SEVEN if n != 2 else ExitedWithCode(code=8), n) for n in (1, 2, 3)]
    found = post_mortem(material(FIRST, last_output={1: lines}, failures=(*others, _own(lines)))).alike
    assert found is not None
    assert (found.line, found.count, found.agents) == ("error in row <n>", 2, 2)
    assert [one.agent_id for one in found.newest] == ["o3", "o1"]
    assert post_mortem(material(FIRST[:3])).alike is None


def test_an_erasure_was_taken_for_an_error_line() -> None:
    """`[erased by …]` is shown where the output was, and is neither its error line nor what makes failures alike."""
    gone = Found((), "[erased by uid:0/cli at 2026]")
    found = post_mortem(material(FIRST, last_output={1: gone}, failures=(_own(gone),)))
    assert (found.last_output, found.error_line) == (("[erased by uid:0/cli at 2026]",), "")
    assert found.alike is not None
    assert found.alike.line == "(erased)"


def test_the_sentence_names_who_ordered_the_signal() -> None:
    """Of several orders the one that came to pass."""
    stop = ev.StopRequested(
        attempt=1, cause="user", reason="why not", forced=False, grace_seconds=(1.0, 1.0, 1.0)
    )
    term = ev.SigtermSent(attempt=1, stage=1, deadline_at=T0)
    end = replace(reaped(1, ExitedWithCode(code=0)), ended_at=T0 + 99 * SECOND)
    found = post_mortem(material([*FIRST[:3], stop, term, end, ev.AgentCancelled(attempt=1)]))
    assert summary(found) == (
        "builder (attempt 1) was told to stop, on the order of somebody (why not), and ended with exit code 0."
    )


def test_the_bounds_of_an_unseen_end_forgot_a_reattachment() -> None:
    """A coordinator that found the process alive proves that it had not ended then; the JSON has RFC 3339."""
    again = ev.AgentReattached(attempt=1, via="process", evidence="alive", unwatched_seconds=1.0)
    gone = ExitUnknown(reason="shim lost", not_before_at=T0, not_after_at=T0 + 60 * SECOND)
    lost = ev.AgentLost(attempt=1, reason="shim lost")
    found = post_mortem(material([*FIRST[:3], again, reaped(1, gone), lost]))
    alive = found.events[3].at
    assert alive > T0
    assert f"not before {alive}, not after {T0 + 60 * SECOND}" in ended_text(found, str)
    exit_ = as_json(found)["verdict"]["exit"]
    assert (exit_["not_before_at"], exit_["not_after_at"]) == (rfc3339(alive), rfc3339(T0 + 60 * SECOND))


def test_the_bounds_of_an_unseen_end_forgot_samples() -> None:
    """Its process was seen alive for each; one that is later than the end, by a clock that was set, tells nothing."""
    gone = ExitUnknown(reason="shim lost", not_before_at=T0, not_after_at=T0 + 60 * SECOND)
    seen = tuple(Sample(1, T0 + at * SECOND, None, None, None, None) for at in (30, 40, 70))
    found = post_mortem(replace(material([*FIRST[:3], reaped(1, gone)]), samples=seen))
    assert (found.verdict.exit or {})["not_before_at"] == T0 + 40 * SECOND


@pytest.mark.parametrize(
    ("pids", "is_complete", "said"),
    [
        ((), True, "nothing was left over"),
        ((), False, "nothing was seen to be left over; not all could be seen"),
        (None, False, "what it left behind is not known"),
        ((1, 2), True, "processes 1, 2 were left over and were killed"),
    ],
)
def test_nothing_was_left_over_and_that_was_not_known(
    pids: tuple[int, ...] | None, is_complete: bool, said: str
) -> None:
    """What is said does not contradict itself."""
    assert left_over_text(LeftOver(pids=pids, is_tree_complete=is_complete, position=1)) == said


def test_as_many_as_a_shim_records_were_said_to_be_all() -> None:
    """It records the first hundred of a fork bomb."""
    assert sweep._MAX_LISTED == MOST_LEFT_OVER
    pids = tuple(range(1, MOST_LEFT_OVER + 1))
    said = left_over_text(LeftOver(pids=pids, is_tree_complete=True, position=1))
    assert said.startswith("at least 100 processes 1, 2, ")
    data = {"oom_killed": None, "leftovers": list(pids), "is_tree_complete": True, "is_recovered": False}
    told = sentence("ZOMBIE_REAPED", {**data, "exit": {"kind": "code", "code": 0}})
    assert told.endswith("at least 100 processes left over and killed")


def _other(agent_id: str, position: int, exit_: ExitedWithCode, number: int) -> OtherFailure:
    outcome = entries([FAILED], start=position, stream=f"agent/{agent_id}")[0]
    return OtherFailure(
        agent_id, agent_id, outcome, {"kind": "code", "code": exit_.code}, Found((f"error in row {number}",))
    )


def _own(lines: Found) -> OtherFailure:
    history: History = histories(entries(FIRST))[1]
    outcome = history.outcome
    assert isinstance(outcome, Entry)
    return OtherFailure("x", "builder", outcome, history.exit, lines)


def test_a_coordinator_that_vanished_was_to_be_guessed_from_a_line_that_was_missing() -> None:
    """That one was killed is said where the next one starts; not of one that left, or that was ended for its home."""
    lives: list[CoordinatorStarted | CoordinatorStopped] = [
        CoordinatorStarted(epoch=1, pid=1, boot_id="b", version="0"),
        CoordinatorStarted(epoch=2, pid=2, boot_id="b", version="0"),
        CoordinatorStarted(epoch=3, pid=3, boot_id="b", version="0", taken_over_from=2),
        CoordinatorStopped(epoch=3, agents_left=0),
        CoordinatorStarted(epoch=4, pid=4, boot_id="b", version="0"),
    ]
    home = tuple(
        entry
        for position, one in enumerate(lives, 1)
        for entry in entries([one], start=position, stream="home/h", epoch=one.epoch)
    )
    found = replace(post_mortem(material(FIRST), 1), home_events=home)
    [shown] = [section.lines for section in sections(found, str) if section.title == "coordinators"]
    assert [line for line in shown if "vanished" in line] == [shown[1]]
    assert shown[1] == "…  epoch 1 vanished: that it stopped is not recorded"


def test_the_time_at_which_an_end_was_found_out_was_shown_as_that_of_the_end() -> None:
    """Nobody saw it: neither when it was, nor how long the attempt ran, is known to anybody."""
    gone = ExitUnknown(reason="shim lost", not_before_at=T0, not_after_at=T0 + 60 * SECOND)
    seen: list[ev.AgentEvent] = [
        STARTED,
        RUNNING,
        reaped(1, gone),
        ev.AgentLost(attempt=1, reason="shim lost"),
    ]
    found = post_mortem(material([spawning(), *seen]))
    assert (found.ended_at, found.runtime_seconds) == (None, None)
    assert describe("x", after(seen))["ended_at"] is None
