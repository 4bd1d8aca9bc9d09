"""Statistics that a few wild values cannot move: median, median deviation, Theil-Sen slope, Kendall's tau. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

MOST_POINTS = 300  # of a slope: pairs grow with the square
_TO_SIGMA = 1.4826  # the median deviation of a normal distribution, times this, is its standard deviation


class Usual(NamedTuple):
    """What is usual of a quantity: its median, and how far values lie from it (as a standard deviation)."""

    median: float
    sigma: float
    values: int

    def score(self, value: float, *, least_sigma: float = 0.0) -> float:
        """How many standard deviations `value` is above (below: negative) the median."""
        sigma = max(self.sigma, least_sigma)
        return (value - self.median) / sigma if sigma > 0 else math.copysign(math.inf, value - self.median)


def usual(values: Sequence[float]) -> Usual:
    """Median and deviation of at least one value."""
    center = median(values)
    return Usual(center, _TO_SIGMA * median(abs(value - center) for value in values), len(values))


class Slope(NamedTuple):
    """A straight line through points. `tau`: 1 where every later point is higher, -1 where lower, 0 for no order.

    `certainty` that there is a trend at all: 1 - p of the Mann-Kendall test, two-sided.
    """

    per_unit: float
    tau: float
    certainty: float


FLAT = Slope(0.0, 0.0, 0.0)


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """The median of the slopes of all pairs, of the last `MOST_POINTS`; flat for fewer than three."""
    points = sorted(points)[-MOST_POINTS:]
    slopes, order = [], 0
    for number, (x, y) in enumerate(points):
        for later_x, later_y in points[number + 1 :]:
            order += (later_y > y) - (later_y < y)
            if later_x > x:
                slopes.append((later_y - y) / (later_x - x))
    if len(points) < 3 or not slopes:
        return FLAT
    count = len(points)
    tau = order / (count * (count - 1) / 2)
    return Slope(median(slopes), tau, _certainty(order, [y for _, y in points]))


def _certainty(order: int, values: Sequence[float]) -> float:
    count = len(values)
    ties = sum(size * (size - 1) * (2 * size + 5) for size in Counter(values).values())
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    if variance <= 0 or order == 0:
        return 0.0
    return math.erf((abs(order) - 1) / math.sqrt(2 * variance))
