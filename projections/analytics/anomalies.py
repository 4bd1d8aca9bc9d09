"""What is out of the ordinary: attempts that took unusually long or much, many restarts, silence. Pure.

What is usual is what the earlier attempts of the same name did: their median and median deviation, which a few wild
ones cannot move. Durations and sizes are compared by their logarithms: half and twice are equally far away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from eventstore.samples import Sample
from projections.analytics.history import Attempt, by_name
from projections.analytics.quiet import quiet_since, quiet_spells
from projections.analytics.robust import Usual, usual
from projections.quantities import counted, duration_text, size_text

LEAST_HISTORY = 8
MOST_HISTORY = 200
THRESHOLD = 3.5
NOT_RARE = 0.05  # of the attempts before: what so many were as far from the usual is usual, too
LEAST_SIGMA = 0.1  # of a logarithm: what is within a tenth of the usual is never far from it
HOUR = 3_600_000_000
RESTART_HOURS = 168
LEAST_RESTART_HOURS = 12
LEAST_RESTARTS = 3
LEAST_SILENCE_SECONDS = 60.0


class Anomaly(NamedTuple):
    """Something unusual. `score`: how many deviations from the usual; `words` says so in a sentence."""

    kind: str
    name: str
    agent_id: str
    attempt: int
    at: int
    score: float
    value: float
    usual: float
    words: str


def anomalies(
    attempts: Iterable[Attempt],
    samples: Mapping[str, Sequence[Sample]],
    *,
    now: int,
    since: int = 0,
    threshold: float = THRESHOLD,
    heard_at: Mapping[tuple[str, int], int] | None = None,
) -> list[Anomaly]:
    """Those of attempts that ended since a time, or run, the most unusual first.

    `samples`: by agent. `heard_at`: the last sign of a running attempt that samples do not show (output, an event).
    """
    found: list[Anomaly] = []
    for some in by_name(attempts).values():
        found += _of_attempts(some, now, since)
        found += _of_restarts(some, now)
        found += _of_silence(some, samples, now, heard_at or {})
    return sorted((one for one in found if one.score >= threshold), key=lambda one: -one.score)


def _of_attempts(attempts: Sequence[Attempt], now: int, since: int) -> Iterable[Anomaly]:
    durations: list[float] = []
    memories: list[float] = []
    for one in sorted(attempts, key=lambda one: one.ended_at or now):
        duration = one.duration_seconds if one.outcome == "COMPLETED" else None
        is_asked = one.is_running or (one.ended_at is not None and one.ended_at >= since)
        if is_asked and one.is_running and one.started_at is not None:
            yield from _duration(one, (now - one.started_at) / 1e6, _known(durations), now)
        elif is_asked and duration is not None:
            yield from _duration(one, duration, _known(durations), one.ended_at or now)
        if is_asked and one.max_memory_bytes:
            yield from _memory(one, float(one.max_memory_bytes), _known(memories), one.ended_at or now)
        if duration is not None:
            durations.append(math.log(max(duration, 0.01)))
        if one.max_memory_bytes and one.ended_at is not None:
            memories.append(math.log(one.max_memory_bytes))


class _Known(NamedTuple):
    """The logarithms of what came before, and what is usual of them."""

    usual: Usual
    logarithms: Sequence[float]

    @property
    def typical(self) -> float:
        return math.exp(self.usual.median)

    def score(self, value: float) -> float:
        """Deviations above (negative: below) the usual; 0 for what is not rare."""
        far = math.log(max(value, 0.01)) - self.usual.median
        as_far = sum((one - self.usual.median) / far >= 1 for one in self.logarithms) if far else 0
        if as_far >= max(2.0, NOT_RARE * len(self.logarithms)):
            return 0.0
        return self.usual.score(self.usual.median + far, least_sigma=LEAST_SIGMA)


def _known(logarithms: Sequence[float]) -> _Known | None:
    last = logarithms[-MOST_HISTORY:]
    return _Known(usual(last), last) if len(last) >= LEAST_HISTORY else None


def _duration(one: Attempt, seconds: float, known: _Known | None, at: int) -> Iterable[Anomaly]:
    if known is None:
        return
    score, typical, count = known.score(seconds), known.typical, known.usual.values
    if one.is_running:
        if score > 0:
            words = (
                f"has been running for {duration_text(seconds)}, {_times(seconds / typical)} the"
                f" {duration_text(typical)} that {count} attempts before it took at the median"
            )
            yield Anomaly("duration", *_whose(one), at, score, seconds, typical, words)
        return
    words = (
        f"took {duration_text(seconds)}, {_times(seconds / typical)} the {duration_text(typical)} of"
        f" {count} attempts before it at the median"
    )
    yield Anomaly("duration", *_whose(one), at, abs(score), seconds, typical, words)


def _memory(one: Attempt, size: float, known: _Known | None, at: int) -> Iterable[Anomaly]:
    if known is None:
        return
    score, typical = known.score(size), known.typical
    if score > 0:
        words = (
            f"used {size_text(round(size))} of memory, {_times(size / typical)} the {size_text(round(typical))} of"
            f" {known.usual.values} attempts before it at the median"
        )
        yield Anomaly("memory", *_whose(one), at, score, size, typical, words)


def _of_restarts(attempts: Sequence[Attempt], now: int) -> Iterable[Anomaly]:
    """The automatic restarts of the last hour beside those of the hours before, up to a week."""
    first = min(one.requested_at for one in attempts)
    hours = min((now - first) // HOUR, RESTART_HOURS + 1)
    counts = [0] * hours
    for one in attempts:
        age = (now - one.requested_at) // HOUR
        if one.restart_number > 0 and 0 <= age < hours:
            counts[age] += 1
    if hours <= LEAST_RESTART_HOURS or counts[0] < max(LEAST_RESTARTS, 1 + max(counts[1:])):
        return
    known = usual(counts[1:])
    # Counts of what happens by chance vary by the root of their mean; a quiet week must not make one restart an alarm.
    score = known.score(counts[0], least_sigma=math.sqrt(max(known.median, 1.0)))
    words = (
        f"was started again {counted(counts[0], 'time')} within the last hour;"
        f" within each of the {known.values} hours before it {known.median:g} times at the median,"
        f" {max(counts[1:])} at the most"
    )
    last = max(attempts, key=lambda one: one.requested_at)
    yield Anomaly("restarts", *_whose(last), now, score, counts[0], known.median, words)


def _of_silence(
    attempts: Sequence[Attempt],
    samples: Mapping[str, Sequence[Sample]],
    now: int,
    heard_at: Mapping[tuple[str, int], int],
) -> Iterable[Anomaly]:
    agents = dict.fromkeys(one.agent_id for one in attempts)
    spells = [seconds for agent in agents for seconds in quiet_spells(samples.get(agent, ()))]
    if len(spells) < LEAST_HISTORY:
        return
    known = usual(spells)
    for one in attempts:
        since = quiet_since(
            [sample for sample in samples.get(one.agent_id, ()) if sample.attempt == one.attempt], now
        )
        if not one.is_running or since is None:
            continue
        since = max(since, heard_at.get((one.agent_id, one.attempt), 0))
        seconds = (now - since) / 1e6
        if seconds < LEAST_SILENCE_SECONDS or seconds < 2 * max(spells):
            continue
        # Not by logarithms: pauses vary by far more than durations, and the longest one counts already.
        score = known.score(seconds, least_sigma=known.median / 2)
        typical = known.median
        words = (
            f"has written nothing and used no CPU for {duration_text(seconds)}; its quiet spells lasted"
            f" {duration_text(typical)} at the median, {duration_text(max(spells))} at the most ({len(spells)} seen)"
        )
        yield Anomaly("silence", *_whose(one), now, score, seconds, typical, words)


def _whose(one: Attempt) -> tuple[str, str, int]:
    return one.name, one.agent_id, one.attempt


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{ratio:.0f} times"
