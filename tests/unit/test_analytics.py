"""What the history says beyond counting: it speaks where there is something, and is silent where there is nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from eventstore.samples import Sample
from projections.analytics.anomalies import THRESHOLD, Anomaly, anomalies
from projections.analytics.history import Attempt, as_of
from projections.analytics.risks import memory_risk, risks, spiral_risk

SECOND = 1_000_000
HOUR = 3_600 * SECOND
NOW = 1_700_000_000 * SECOND
MEBI = 1 << 20


def ended(number: int, seconds: float, *, memory: int = 50 * MEBI, outcome: str = "COMPLETED") -> Attempt:
    """The only attempt of an agent of its own: the `number`-th of the name."""
    started = NOW + number * HOUR
    return Attempt(
        f"agent-{number}",
        1,
        "job",
        started,
        started,
        started + round(seconds * SECOND),
        outcome,
        cpu_seconds=seconds / 2,
        max_memory_bytes=memory,
    )


def history(values: Sequence[float]) -> list[Attempt]:
    """Attempts that took so many seconds, one an hour."""
    return [ended(number, seconds) for number, seconds in enumerate(values)]


def look(attempts: Sequence[Attempt], *, at: int | None = None, since: int = 0) -> list[Anomaly]:
    """What is unusual, once all have ended."""
    return anomalies(attempts, {}, now=at or NOW + 1_000 * HOUR, since=since)


def rows(memory: Sequence[float], cpu: Sequence[float] = (), *, seconds: int = 10) -> list[Sample]:
    """Samples up to now, the last one now."""
    last = len(memory) - 1
    return [
        Sample("a", 1, NOW - (last - place) * seconds * SECOND, cpu[place] if cpu else 5.0, round(size), 1, 1)
        for place, size in enumerate(memory)
    ]


RUNNING = Attempt("a", 1, "job", NOW - 10 * HOUR, NOW - 10 * HOUR)


# --- anomalies ------------------------------------------------------------------------------------------------------


def test_one_that_took_far_longer_is_found() -> None:
    """The sentence has the value, the usual, and how far apart they are."""
    chance = random.Random(4)
    usual_ones = [chance.uniform(90, 110) for _ in range(20)]
    [found] = look(history([*usual_ones, 1000]))
    assert (found.kind, found.agent_id) == ("duration", "agent-20")
    assert found.words.startswith("took 16m40s, 1")
    assert "times the 1m4" in found.words or "times the 1m3" in found.words
    assert look(history([*usual_ones, 105])) == []
    [short] = look(history([*usual_ones, 1]))
    assert short.score >= THRESHOLD


def test_what_happens_now_and_then_is_not_rare() -> None:
    """A job with two ways to go is not unusual in either; heavy tails belong to it as well."""
    chance = random.Random(5)
    assert (
        look(history([chance.choice([10.0, 10.0, 10.0, 90.0]) for _ in range(60)]), since=NOW + 40 * HOUR)
        == []
    )


def test_one_that_still_runs_is_compared_as_far_as_it_has_come() -> None:
    """It is found when it has run for too long, and never for having run too short."""
    begun = NOW + 100 * HOUR
    some = [*history([100.0, 101.0, 99.0] * 4), Attempt("new", 1, "job", begun, begun)]
    assert look(some, at=begun + 5 * SECOND) == []
    [found] = look(some, at=begun + 2_000 * SECOND)
    assert found.words.startswith("has been running for 33m20s, 20 times the 1m40s")


def test_memory_is_compared_upwards() -> None:
    """More than usual is an anomaly, less is none."""
    some = [ended(n, 100, memory=50 * MEBI + n) for n in range(12)]
    [found] = look([*some, ended(12, 100, memory=500 * MEBI)])
    assert found.words.startswith("used 500M of memory, 10 times the 50.0M of 12 attempts")
    assert look([*some, ended(12, 100, memory=MEBI)]) == []


def test_too_little_history_says_nothing() -> None:
    """With fewer than eight attempts before it nothing is unusual."""
    assert look(history([100.0] * 7 + [5_000.0])) == []


def _restarted(hours_ago: Sequence[float]) -> list[Attempt]:
    first = Attempt("a", 1, "job", NOW - 100 * HOUR, NOW - 100 * HOUR)
    return [
        first,
        *(
            Attempt("a", n, "job", round(NOW - age * HOUR), round(NOW - age * HOUR), restart_number=1)
            for n, age in enumerate(sorted(hours_ago, reverse=True), 2)
        ),
    ]


def test_more_restarts_than_in_any_hour_before() -> None:
    """Ten within an hour after a quiet week are found; one, or as many as ever, are not."""
    [found] = anomalies(_restarted([n / 20 for n in range(10)]), {}, now=NOW)
    assert found.words.startswith(
        "was started again 10 times within the last hour; within each of the 99 hours"
    )
    assert anomalies(_restarted([0.5]), {}, now=NOW) == []
    assert anomalies(_restarted([n / 10 for n in range(900)]), {}, now=NOW) == []


def test_silence_is_found_by_its_own_measure() -> None:
    """A process that worked now and then and has been quiet for far longer; not one that pauses as ever, or wrote."""
    working = ([50.0] + [0.0] * 3) * 12
    hung = rows([1e6] * 100, [*working, *[0.0] * 52])
    found = anomalies([RUNNING], {"a": hung}, now=NOW)
    assert [one.kind for one in found] == ["silence"]
    assert found[0].words.startswith(
        "has written nothing and used no CPU for 9m10s; its quiet spells lasted 40s"
    )
    assert anomalies([RUNNING], {"a": hung[:49]}, now=hung[48].sampled_at) == []
    assert anomalies([RUNNING], {"a": hung}, now=NOW, heard_at={("a", 1): NOW - SECOND}) == []
    assert anomalies([RUNNING], {"a": rows([1e6] * 100, [0.0] * 100)}, now=NOW) == []  # it never worked
    assert anomalies([RUNNING], {"a": hung[:60]}, now=NOW) == []  # nobody looked for the last 40


# --- risks ----------------------------------------------------------------------------------------------------------


def test_memory_on_its_way_to_its_limit() -> None:
    """It says when: 1 MiB every 10 s, 60 MiB left, ten minutes."""
    risk = memory_risk(RUNNING, rows([(100 + n) * MEBI for n in range(60)]), (159 + 60) * MEBI, now=NOW)
    assert risk is not None
    assert risk.score > 0.9
    assert risk.left_seconds == pytest.approx(600, rel=0.1)
    assert "grows by 6.0M a minute and reaches the limit of 219M in 10m" in risk.words


@pytest.mark.parametrize(
    "sizes",
    [
        [100.0] * 60,
        [100 + 40 * (1 - math.exp(-n / 8)) for n in range(60)],
        [100 + 30 * (n % 9) / 9 for n in range(60)],
        [100.0] * 30 + [150.0] * 30,
        [150 - n for n in range(60)],
        [100 + n for n in range(5)],
    ],
    ids=["flat", "warming up", "collected", "one jump", "shrinking", "too few"],
)
def test_memory_that_is_no_risk(sizes: list[float]) -> None:
    """What is flat, settles, goes up and down or has hardly been seen does not alarm."""
    risk = memory_risk(RUNNING, rows([size * MEBI for size in sizes]), 200 * MEBI, now=NOW)
    assert risk is None or risk.score < 0.3


def test_a_limit_that_is_close_is_told_within_a_minute() -> None:
    """12 MiB a second towards 1 GiB is seen after 40 s; towards 4 GiB the first minute says nothing yet."""
    leak = rows([120.0 * n * MEBI for n in range(5)])
    risk = memory_risk(RUNNING, leak, 1024 * MEBI, now=NOW)
    assert risk is not None
    assert risk.score > 0.9
    assert risk.left_seconds == pytest.approx(50, abs=10)
    assert "(5 samples over 40s" in risk.words
    assert memory_risk(RUNNING, leak, 4096 * MEBI, now=NOW) is None
    assert memory_risk(RUNNING, leak[:4], 1024 * MEBI, now=NOW) is None


def failing(lives: Sequence[float], *, last_runs: bool = False) -> list[Attempt]:
    """An agent whose attempts all failed, and was started again each time."""
    at, made = NOW, []
    for number, seconds in enumerate(lives, 1):
        end = at + round(seconds * SECOND)
        made.append(
            Attempt("a", number, "job", at, at, end, "FAILED", "exit", "f", restart_number=number - 1)
        )
        at = end + SECOND
    if last_runs:
        made.append(Attempt("a", len(made) + 1, "job", at, at, restart_number=len(made)))
    return made


def test_restarts_that_lead_nowhere() -> None:
    """The more failures in a row, the sooner and the more alike, the surer; two are no row, crashes a day no spiral."""
    scores = []
    for count in range(1, 9):
        risk = spiral_risk(failing([1.0] * count), failing([1.0] * count), now=NOW + HOUR)
        scores.append(0.0 if risk is None else risk.score)
    assert scores[:2] == [0, 0]
    assert scores == sorted(scores)
    assert 0.5 < scores[3] < scores[7] <= 1
    daily = failing([80_000.0] * 8)
    risk = spiral_risk(daily, daily, now=NOW)
    assert risk is not None
    assert risk.score < 0.05


def test_what_came_to_a_good_end_before_speaks_against_a_spiral() -> None:
    """Rows of failures that ended well lower the score; an attempt that has lived long, too; an end is no risk."""
    bad = failing([1.0] * 5)
    good = [one._replace(agent_id="b") for one in failing([1.0] * 5)]
    good.append(good[-1]._replace(attempt=6, outcome="COMPLETED", restart_number=5))
    alone, beside = spiral_risk(bad, bad, now=NOW + HOUR), spiral_risk(bad, [*good, *bad], now=NOW + HOUR)
    assert alone is not None
    assert beside is not None
    assert beside.score < alone.score
    assert "50% of such rows came to a good end" in beside.words
    living = failing([1.0] * 5, last_runs=True)
    lives = spiral_risk(living, living, now=NOW + 10 * HOUR)
    assert lives is not None
    assert lives.score < 0.01
    over = [*bad[:-1], bad[-1]._replace(has_given_up=True)]
    assert spiral_risk(over, over, now=NOW) is None
    cancelled = [one._replace(agent_over_at=NOW + HOUR) for one in bad]
    assert spiral_risk(cancelled, cancelled, now=NOW + 2 * HOUR) is None
    before = as_of(cancelled, NOW + HOUR - 1)
    assert spiral_risk(before, before, now=NOW + HOUR - 1) is not None


def test_risks_are_of_those_that_have_not_ended() -> None:
    """The most probable first; without a limit there is no risk of memory."""
    leaking = rows([(100 + n) * MEBI for n in range(60)])
    spiral = [one._replace(agent_id="b", name="other") for one in failing([0.1] * 9)]
    found = risks([RUNNING, *spiral], {"a": leaking}, {"a": 200 * MEBI}, now=NOW)
    assert {one.kind for one in found} == {"memory limit", "restart spiral"}
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert [one.kind for one in risks([RUNNING], {"a": leaking}, {}, now=NOW)] == []


def test_the_past_knows_nothing_of_the_future() -> None:
    """As of a time an attempt that ended later runs, one that was asked for later is not there."""
    [first, second] = [ended(0, 100), ended(1, 100)]
    assert as_of([first, second], NOW + 50 * SECOND) == [
        Attempt(first.agent_id, 1, "job", first.requested_at, first.started_at)
    ]
    assert as_of([first, second], NOW + 2 * HOUR) == [first, second]
    assert as_of([first], NOW - 1) == []
