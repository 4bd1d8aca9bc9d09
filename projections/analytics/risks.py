"""What will probably go wrong: memory on its way to its limit, restarts that lead nowhere. Pure.

A score from 0 to 1 says how much speaks for it; `benchmarks/prediction.py` measures what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from eventstore.samples import Sample
from projections.analytics.history import Attempt, by_name
from projections.analytics.robust import slope
from projections.quantities import duration_text, size_text

WINDOW_SECONDS = 3_600.0
MOST_SAMPLES = 120
LEAST_SAMPLES = 10
LEAST_SPAN_SECONDS = 60.0
EARLY_SAMPLES = 5  # enough where the limit is that close: many a program grows in its first minute
EARLY_SPAN_SECONDS = 30.0
EARLY_LEFT_SPANS = 4.0
HORIZON_SECONDS = 5_400.0  # with this time left the score is halved
LEAST_TAU, FULL_TAU = 0.4, 0.8
LEAST_STREAK = 3
STREAK_MEMORY = 0.6
SPIRAL_SECONDS = 600.0  # attempts that live longer than this before they fail are no spiral
THRESHOLD = 0.5


class Risk(NamedTuple):
    """Something that will probably happen. `left_seconds`: until then, if it goes on as it does now."""

    kind: str
    name: str
    agent_id: str
    attempt: int
    score: float
    left_seconds: float | None
    words: str


def risks(
    attempts: Iterable[Attempt],
    samples: Mapping[str, Sequence[Sample]],
    limits: Mapping[str, int],
    *,
    now: int,
    threshold: float = THRESHOLD,
) -> list[Risk]:
    """Those of agents that have not ended, the most probable first.

    `samples`: by agent. `limits`: by agent, the bytes of memory that its tree may use.
    """
    found: list[Risk | None] = []
    for some in by_name(attempts).values():
        for agent in dict.fromkeys(one.agent_id for one in some):
            mine = [one for one in some if one.agent_id == agent]
            last = mine[-1]
            if last.is_running and agent in limits:
                rows = [row for row in samples.get(agent, ()) if row.attempt == last.attempt]
                found.append(memory_risk(last, rows, limits[agent], now=now))
            found.append(spiral_risk(mine, some, now=now))
    return sorted((one for one in found if one and one.score >= threshold), key=lambda one: -one.score)


def memory_risk(one: Attempt, samples: Sequence[Sample], limit_bytes: int, *, now: int) -> Risk | None:
    """Whether an attempt's memory is heading for its limit, from its samples of the last hour; None: nothing says so.

    Growth that slackens counts for less, so does growth with ups and downs: caches fill, collectors clear.
    """
    rows = [
        (row.sampled_at / 1e6, float(row.memory_bytes))
        for row in samples
        if row.memory_bytes is not None and 0 <= now - row.sampled_at <= WINDOW_SECONDS * 1e6
    ][-MOST_SAMPLES:]
    seen_seconds = rows[-1][0] - rows[0][0] if rows else 0.0
    if len(rows) < EARLY_SAMPLES or seen_seconds < EARLY_SPAN_SECONDS:
        return None
    whole, recent = slope(rows), slope(rows[len(rows) // 2 :])
    growth = min(whole.per_unit, recent.per_unit)
    if growth <= 0:
        return None
    used = used_bytes(samples)
    left = max(0.0, (limit_bytes - used) / growth - (now / 1e6 - rows[-1][0]))
    is_early = len(rows) < LEAST_SAMPLES or seen_seconds < LEAST_SPAN_SECONDS
    if is_early and left > EARLY_LEFT_SPANS * seen_seconds:
        return None
    order = min(max((whole.tau - LEAST_TAU) / (FULL_TAU - LEAST_TAU), 0.0), 1.0)
    lasting = min(1.0, recent.per_unit / whole.per_unit)
    score = whole.certainty * order * lasting / (1 + (left / HORIZON_SECONDS) ** 2)
    words = (
        f"its memory ({size_text(round(used))}) grows by {size_text(round(growth * 60))} a minute and reaches"
        f" the limit of {size_text(limit_bytes)} in {duration_text(left)} if it goes on so"
        f" ({len(rows)} samples over {duration_text(seen_seconds)}, τ {whole.tau:.2f})"
    )
    return Risk("memory limit", one.name, one.agent_id, one.attempt, score, left, words)


def used_bytes(samples: Sequence[Sample]) -> float:
    """What an attempt used last: the median of its last three samples; 0 for none."""
    return median([row.memory_bytes or 0 for row in samples[-3:]] or [0])


def spiral_risk(mine: Sequence[Attempt], alike: Sequence[Attempt], *, now: int) -> Risk | None:
    """Whether an agent's automatic restarts lead nowhere: failures in a row, alike, soon, and sooner each time.

    `mine`: its attempts in order. `alike`: those of all agents of its name, whose recoveries speak against it.
    """
    last = mine[-1]
    if (
        last.agent_over_at is not None
        or last.has_given_up
        or last.outcome in ("COMPLETED", "CANCELLED", "KILLED")
    ):
        return None
    streak = _streak(mine)
    if len(streak) < LEAST_STREAK:
        return None
    lives = [max(one.duration_seconds or 0.0, 0.01) for one in streak]
    causes = [(one.cause, one.fingerprint) for one in streak]
    sameness = max(causes.count(cause) for cause in causes) / len(causes)
    shrinking = max(0.0, -slope([(number, math.log(life)) for number, life in enumerate(lives)]).tau)
    briefness = SPIRAL_SECONDS / (SPIRAL_SECONDS + median(lives))
    if (
        last.is_running and last.started_at is not None
    ):  # the longer it lives, the less it is like those before
        briefness *= min(1.0, 2 * median(lives) / max((now - last.started_at) / 1e6, 0.01))
    length = 1 - STREAK_MEMORY ** (len(streak) - 1)
    recovered = _recovered_share(alike, len(streak))
    score = length * briefness * (0.6 + 0.3 * sameness + 0.1 * shrinking) * (1 - recovered)
    words = (
        f"its last {len(streak)} attempts failed, after {duration_text(median(lives))} at the median"
        f"{', each time sooner' if shrinking > 0.5 else ''}; {sameness:.0%} of them alike"
        f"{f'; {recovered:.0%} of such rows came to a good end' if recovered else ''}"
    )
    return Risk("restart spiral", last.name, last.agent_id, last.attempt, score, None, words)


def _streak(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The failures at the end of a row of automatic restarts; an attempt that runs now is left aside."""
    ended = [one for one in attempts if not one.is_running and one.outcome is not None]
    streak: list[Attempt] = []
    for one in reversed(ended):
        if not one.has_failed:
            break
        streak.append(one)
        if one.restart_number == 0:
            break
    return streak[::-1]


def _recovered_share(alike: Sequence[Attempt], length: int) -> float:
    """Of the earlier rows of at least so many failures, the share after which an attempt did well."""
    good = bad = 0
    agents = dict.fromkeys(one.agent_id for one in alike)
    for agent in agents:
        failures = 0
        for one in (one for one in alike if one.agent_id == agent and one.outcome is not None):
            if one.has_failed:
                failures = failures + 1 if one.restart_number else 1
                bad += one.has_given_up and failures >= length
            else:
                good += failures >= length
                failures = 0
    return good / (good + bad + 1)
