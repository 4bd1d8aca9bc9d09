"""How duration, memory and CPU of the attempts of one name move with time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from projections.analytics.history import Attempt, by_name
from projections.analytics.robust import slope
from projections.quantities import duration_text, size_text

LEAST_ATTEMPTS = 8
CERTAIN = 0.99
NOTEWORTHY = 0.1  # of the median, over the time that was looked at
DAY = 86_400.0
_MOVED = {1: "rising", -1: "falling", 0: "steady"}


class Trend(NamedTuple):
    """How a quantity of a name's attempts moves. `change`: over the whole time, as a share of the median.

    `direction` is `steady` where the change is small or may be chance.
    """

    name: str
    metric: str
    attempts: int
    median: float
    per_day: float
    change: float
    certainty: float
    direction: str
    words: str


def trends(attempts: Iterable[Attempt]) -> list[Trend]:
    """Of each name and metric with at least 8 ended attempts; what moves most first."""
    found = [
        _trend(name, metric, points)
        for name, some in by_name(attempts).items()
        for metric, points in _series(some).items()
        if len(points) >= LEAST_ATTEMPTS
    ]
    return sorted(found, key=lambda one: (one.direction == "steady", -abs(one.change), one.name, one.metric))


def _series(attempts: Sequence[Attempt]) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {"duration": [], "memory": [], "cpu": []}
    for one in attempts:
        if one.started_at is None or one.ended_at is None:
            continue
        day, seconds = one.started_at / 1e6 / DAY, one.duration_seconds
        if seconds is not None and one.outcome == "COMPLETED":
            series["duration"].append((day, seconds))
        if one.max_memory_bytes:
            series["memory"].append((day, float(one.max_memory_bytes)))
        if one.cpu_seconds is not None and seconds is not None and seconds >= 1:
            series["cpu"].append((day, 100 * one.cpu_seconds / seconds))
    return series


def _trend(name: str, metric: str, points: Sequence[tuple[float, float]]) -> Trend:
    line = slope(points)
    center = median(value for _, value in points)
    days = max(day for day, _ in points) - min(day for day, _ in points)
    change = line.per_unit * days / center if center > 0 else 0.0
    is_real = line.certainty >= CERTAIN and abs(change) >= NOTEWORTHY
    direction = _MOVED[(change > 0) - (change < 0) if is_real else 0]
    words = f"{_text(metric, center)} at the median of {len(points)} attempts"
    if is_real:
        words += (
            f", {abs(change):.0%} {'more' if change > 0 else 'less'} over {duration_text(days * DAY)}"
            f" ({_text(metric, abs(line.per_unit))} a day); by chance in {1 - line.certainty:.2%} of cases"
        )
    else:
        words += "; no trend that is more than chance"
    return Trend(name, metric, len(points), center, line.per_unit, change, line.certainty, direction, words)


def _text(metric: str, value: float) -> str:
    if metric == "memory":
        return size_text(round(value))
    return duration_text(value) if metric == "duration" else f"{value:.1f} % CPU"
