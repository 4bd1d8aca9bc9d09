"""The picture of a life: what its lanes hold, where an instant is drawn, and that every life can be drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta, timezone
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import events as ev
from eventstore import home_events
from eventstore.chain import EMPTY
from eventstore.values import ExitedBySignal
from manager.why.drawing import picture
from manager.why.lanes import Band, Life
from manager.why.life import life_of
from manager.why.material import Entry, Material, Sample
from manager.why.timescale import CHARACTER, TimeScale
from tests.support.histories import UNKNOWN, legal_histories, spawning
from tests.support.rows import coordinator, entries
from tests.support.states import KILL, RUNNING, SCHEDULED, SECOND, SEVEN, STARTED, T0, asked, ended, term

DAY = 86_400 * SECOND
LIFE: list[ev.Event] = [spawning(), STARTED, RUNNING]  # at T0, T0 + 1 s and T0 + 2 s
FAILED = ev.AgentFailed(attempt=1, cause="exit", message="m", phase=None, errno=None, last_output=None)


def material(*events: ev.Event, home: tuple[Entry, ...] = (), samples: tuple[Sample, ...] = ()) -> Material:
    """What is known of an agent with these events, a second apart."""
    return Material(
        agent_id="x",
        name="x",
        entries=entries(events),
        home=home,
        samples=samples,
        failures=(),
        is_all_failures=True,
        last_output={},
        is_alive=None,
        head=EMPTY,
        outside=None,
        checkpoint=None,
    )


def life(*events: ev.Event, now: int = 100, **more: tuple[Entry, ...] | tuple[Sample, ...]) -> Life:
    """Its life, looked at so many seconds after the first event."""
    return life_of(material(*events, **more), 1, T0 + now * SECOND)  # type: ignore[arg-type]


def spans(bands: tuple[Band, ...]) -> list[tuple[str, float, float]]:
    """Kind, beginning and end in seconds."""
    return [(band.kind, (band.start - T0) / SECOND, (band.end - T0) / SECOND) for band in bands]


def test_a_running_agent_runs_until_now() -> None:
    """What has not ended is drawn up to the moment of looking, and as open."""
    shown = life(*LIFE)
    assert spans(shown.states) == [("starting", 0, 2), ("running", 2, 100)]
    assert spans(shown.attempts) == [("open", 0, 100)]
    assert (shown.start, shown.end) == (T0, T0 + 100 * SECOND)


def test_each_stage_of_a_stop_is_a_band_and_each_signal_a_mark() -> None:
    """From the request over both SIGTERMs to SIGKILL, up to the end of the process."""
    killed = ended(ExitedBySignal(signal=9, core_dumped=False), at=T0 + 7 * SECOND)
    shown = life(*LIFE, asked(), term(1), term(2), KILL, killed, ev.AgentKilled(attempt=1))
    assert spans(shown.stops) == [("asked", 3, 4), ("term", 4, 5), ("term", 5, 6), ("kill", 6, 7)]
    assert [(mark.label, mark.is_ours) for mark in shown.signals] == [
        ("SIGTERM", True),
        ("SIGTERM", True),
        ("SIGKILL", True),
    ]
    assert spans(shown.states)[-1] == ("stopping", 3, 7)
    assert spans(shown.attempts) == [("killed", 0, 7)]


def test_a_signal_that_nobody_announced_is_somebody_elses() -> None:
    """It stands where the process ended, and says that its sender is unknown."""
    gone = ended(ExitedBySignal(signal=15, core_dumped=False), at=T0 + 3 * SECOND)
    (mark,) = life(*LIFE, gone, FAILED).signals
    assert (mark.label, mark.is_ours, mark.at) == ("SIGTERM", False, T0 + 3 * SECOND)
    assert "who is unknown" in mark.title


def test_what_nobody_saw_is_drawn_as_unseen() -> None:
    """An end that nobody saw is somewhere in a stretch; one that was recorded late was not noticed for a while."""
    lost = life(*LIFE, ended(UNKNOWN, at=None), ev.AgentLost(attempt=1, reason="r"))
    assert spans(lost.states)[-1] == ("unseen", 2, 3)
    assert lost.attempts[0].title == "attempt 1: LOST, exit unknown: the host rebooted"  # no word of how long
    signals: list[ev.Event] = [ev.SignalSent(attempt=1, signal=10, reason=None)] * 5
    late = life(*LIFE, *signals, ended(SEVEN, at=T0 + 3 * SECOND), FAILED)
    assert spans(late.states)[-2:] == [("running", 2, 3), ("unseen", 3, 8)]


def test_a_back_off_is_waiting_time_and_the_next_attempt_follows() -> None:
    """Between two attempts the agent waits until the restart is due."""
    later: list[ev.Event] = [
        ev.AgentStarted(attempt=2, process=STARTED.process),
        ev.AgentRunning(attempt=2, evidence="e"),
    ]
    shown = life(*LIFE, ended(SEVEN, at=T0 + 3 * SECOND), FAILED, SCHEDULED, spawning(2), *later, now=9)
    assert spans(shown.attempts) == [("failed", 0, 3), ("open", 6, 9)]
    assert ("waiting", 5, 5) in spans(shown.states)


def test_coordinators_are_up_until_their_last_sign() -> None:
    """One that was killed is drawn up to its last event or sample; from there nobody knows, up to the next start."""
    next_one = entries(
        [home_events.CoordinatorStarted(epoch=2, pid=2, boot_id="b", version="0")] * 9,
        epoch=2,
        stream="home/h",
    )[8]
    sample = Sample(1, T0 + 5 * SECOND, 1.0, 1, 1, 1)
    shown = life(*LIFE, home=(coordinator(epoch=1), next_one), samples=(sample,), now=20)
    assert spans(shown.coordinators) == [("up", 0, 5), ("lost", 5, 8), ("up", 8, 8), ("lost", 8, 20)]


def test_a_line_is_broken_where_no_samples_were_taken() -> None:
    """A gap of several intervals is no line; neither are two attempts one line."""
    at = [0, 10, 20, 100, 110]
    samples = [Sample(1, T0 + second * SECOND, None, second, 1, 1) for second in at]
    samples.append(Sample(2, T0 + 111 * SECOND, None, 5, 1, 1))
    shown = life(*LIFE, samples=tuple(samples), now=200)
    assert [[value for _, value in run] for run in shown.memory] == [[0, 10, 20], [100, 110], [5]]
    assert shown.cpu == ()


@settings(max_examples=60, deadline=None)
@given(legal_histories(max_size=20), st.sampled_from([328, 656, 1032]), st.integers(0, 10))
def test_every_life_can_be_drawn(history: list[ev.AgentEvent], width: int, now: int) -> None:
    """Whatever an agent lived through: well-formed SVG, and nothing of it outside of the picture."""
    if not history:
        return
    shown = life_of(material(*history), 1, T0 + now * SECOND)
    svg = ET.fromstring(picture(shown, width=width, zone=UTC, label="<&>\"'\x00\x1b"))
    for shape in svg.iter("rect"):
        x, wide = float(shape.attrib["x"]), float(shape.attrib["width"])
        assert 0 <= x <= x + wide <= width + 3
    assert all(-1 <= float(text.attrib["x"]) <= width for text in svg.iter("text"))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 4_000 * DAY),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=3),
    st.sampled_from([328.0, 656.0, 1032.0]),
    st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))]),
)
def test_time_never_runs_backwards_on_any_scale(
    span: int, idle: list[tuple[float, float]], right: float, zone: timezone
) -> None:
    """From a microsecond to ten years, with any idle time: x grows with time, and labels do not touch each other."""
    edges = sorted({round(share * span) for pair in idle for share in pair})
    stretches = [(T0 + a, T0 + b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    scale = TimeScale.of(T0, T0 + span, stretches, left=1.0, right=right)
    places = [scale.x(T0 + span * step // 50) for step in range(51)]
    assert places == sorted(places)
    assert 1.0 <= places[0] <= places[-1] <= right + 0.001
    ticks = scale.ticks(zone)
    assert all(one.right + CHARACTER <= other.left + 0.001 for one, other in pairwise(ticks))
    assert all(tick.left >= 0 for tick in ticks)


@pytest.mark.parametrize(
    ("span", "first"),
    [
        (20_000, "14 Nov 22:13:20.000"),
        (SECOND, "14 Nov 22:13:20.000"),
        (3600 * SECOND, "14 Nov 22:15"),
        (9 * DAY, "15 Nov"),
    ],
)
def test_ticks_are_round_times(span: int, first: str) -> None:
    """Milliseconds for a life of an instant, days for one of days; the day is named where it changes."""
    ticks = TimeScale.of(T0, T0 + span, [], left=100.0, right=656.0).ticks(UTC)
    assert ticks[0].label == first
    assert len(ticks) >= 3


def test_idle_time_that_would_fill_the_picture_is_cut_out() -> None:
    """Two short attempts a month apart stay readable, and the cut says how much it leaves out."""
    scale = TimeScale.of(T0, T0 + 30 * DAY, [(T0 + SECOND, T0 + 30 * DAY - SECOND)], left=0.0, right=656.0)
    (cut,) = scale.cuts()
    assert cut[1] > 29 * DAY
    assert scale.x(T0 + SECOND) > 200
    assert scale.x(T0 + SECOND) < cut[0] < scale.x(T0 + 30 * DAY - SECOND)


@pytest.mark.parametrize("width", [656, 1032])
def test_a_label_was_cut_where_its_band_began_in_a_cut(width: int) -> None:
    """A coordinator started in idle time that is left out, and the cut lay over the first letter of `epoch 2`."""
    begin, end = T0 + 9_000 * SECOND, T0 + 10_000 * SECOND
    shown = life(*LIFE, ended(SEVEN, at=T0 + 100 * SECOND), FAILED, now=10_000)
    attempts = (*shown.attempts, Band(start=end - 100 * SECOND, end=end, kind="open", label="2", title=""))
    epoch = Band(start=begin, end=end, kind="up", label="epoch 2", title="")
    shown = replace(shown, end=end, attempts=attempts, coordinators=(epoch,))
    drawn = ET.fromstring(picture(shown, width=width, zone=UTC, label="x"))
    [cut] = [one.attrib for one in drawn.iter("rect") if one.get("class") == "cut"]
    [at] = [float(one.attrib["x"]) for one in drawn.iter("text") if one.text == "epoch 2"]
    assert float(cut["x"]) + float(cut["width"]) < at
