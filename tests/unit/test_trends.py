"""Slopes that a few wild values cannot move, and the trends that are told by them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.analytics.robust import slope, usual
from projections.analytics.trends import Trend, trends
from tests.unit.test_analytics import MEBI, ended, history


@given(
    st.floats(-100, 100), st.floats(-1e6, 1e6), st.lists(st.floats(-1e9, 1e9), max_size=3), st.integers(0, 99)
)
def test_wild_values_do_not_move_a_slope(
    per_unit: float, offset: float, wild: list[float], seed: int
) -> None:
    """Three values of thirty may be anything: the line through the others is found."""
    points = [(float(x), offset + per_unit * x) for x in range(30)]
    for y in wild:
        place = random.Random(seed + round(y)).randrange(30)
        points[place] = (points[place][0], y)
    assert slope(points).per_unit == pytest.approx(per_unit, abs=0.5 * abs(per_unit) + 1e-3)


def test_chance_is_no_trend() -> None:
    """Of a thousand series without a trend about one in a hundred looks like one that is 99 % certain."""
    chance = random.Random(1)
    certain = sum(slope([(x, chance.gauss(0, 1)) for x in range(12)]).certainty > 0.99 for _ in range(1_000))
    assert certain < 30


def test_too_little_is_flat() -> None:
    """Fewer than three points, points of one moment and equal values have no slope."""
    for points in (
        [],
        [(1.0, 2.0)],
        [(1.0, 2.0), (2.0, 5.0)],
        [(1.0, 2.0)] * 5,
        [(1.0, 1.0), (1.0, 9.0)] * 3,
    ):
        assert slope(points).certainty == 0
    assert slope([(float(x), 7.0) for x in range(9)]) == (0.0, 0.0, 0.0)


def test_the_usual_is_not_moved_by_the_unusual() -> None:
    """Median and deviation are those of the many; where all are equal, anything else is infinitely far."""
    assert usual([1, 2, 3, 4, 1e12]).median == 3
    assert usual([5.0] * 9).score(6) == math.inf
    assert usual([5.0] * 9).score(6, least_sigma=0.5) == 2


def _only(found: Sequence[Trend], metric: str) -> Trend:
    [one] = [trend for trend in found if trend.metric == metric]
    return one


def test_durations_that_grow_are_a_trend() -> None:
    """A job that takes 2 % longer each time is said to rise, by how much, and how certain that is."""
    chance = random.Random(2)
    found = _only(trends(history([100 * 1.02**n * chance.uniform(0.9, 1.1) for n in range(40)])), "duration")
    assert found.direction == "rising"
    assert 0.4 < found.change < 1.2
    assert "% more over 1d15h" in found.words


def test_what_only_varies_is_steady() -> None:
    """Noise is no trend, nor is a certain change too small to matter; of few attempts nothing is said."""
    chance = random.Random(3)
    noisy = _only(trends(history([chance.uniform(50, 150) for _ in range(40)])), "duration")
    assert (noisy.direction, "more than chance" in noisy.words) == ("steady", True)
    small = _only(trends(history([100 + 0.1 * n for n in range(40)])), "duration")
    assert small.certainty > 0.99
    assert small.direction == "steady"
    assert trends(history([100.0] * 7)) == []


def test_memory_and_cpu_have_trends_too() -> None:
    """Each by itself: the one that moves comes first."""
    some = [ended(n, 100, memory=(50 + 5 * n) * MEBI) for n in range(20)]
    found = trends(some)
    assert (found[0].metric, found[0].direction) == ("memory", "rising")
    assert _only(found, "cpu").words.startswith("50.0 % CPU at the median of 20 attempts")
