"""Spells in which a process used no CPU, from its samples. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from statistics import median

from eventstore.samples import Sample

BUSY_PERCENT = 1.0
MOST_GAP = 5  # times the usual time between two samples; more means that nobody looked


def quiet_spells(samples: Sequence[Sample]) -> list[float]:
    """Seconds of each spell between two busy samples of one attempt; a time when nobody looked counts for none.

    `samples` may be of several attempts, in order of time.
    """
    return [seconds for _, some in _attempts(samples) for seconds in _spells(list(some))]


def quiet_since(samples: Sequence[Sample], now: int) -> int | None:
    """When the attempt of the newest sample was last seen busy (µs), if it has been watched ever since, up to now.

    None: nobody knows, or it never was busy.
    """
    *_, (_, some) = list(_attempts(samples)) or [(None, iter(()))]
    last = list(some)
    longest = _longest_gap(last)
    if longest is None or now - last[-1].sampled_at > longest:
        return None
    for earlier, later in pairwise(reversed(last)):
        if _is_busy(earlier):
            return earlier.sampled_at
        if earlier.sampled_at - later.sampled_at > longest:
            return None
    return last[0].sampled_at if _is_busy(last[0]) else None


def _spells(samples: Sequence[Sample]) -> Iterable[float]:
    longest = _longest_gap(samples)
    begun: int | None = None
    before: Sample | None = None
    for one in samples:
        if before is not None and longest is not None and one.sampled_at - before.sampled_at > longest:
            begun = None
        if _is_busy(one):
            if begun is not None and before is not None and not _is_busy(before):
                yield (one.sampled_at - begun) / 1e6
            begun = one.sampled_at
        before = one


def _longest_gap(samples: Sequence[Sample]) -> float | None:
    gaps = [later.sampled_at - earlier.sampled_at for earlier, later in pairwise(samples)]
    return MOST_GAP * median(gaps) if gaps else None


def _is_busy(sample: Sample) -> bool:
    return (sample.cpu_percent or 0.0) >= BUSY_PERCENT


def _attempts(samples: Sequence[Sample]) -> Iterable[tuple[object, Iterable[Sample]]]:
    ordered = sorted(samples, key=lambda one: (one.agent_id, one.attempt, one.sampled_at))
    groups = [
        (key, list(some)) for key, some in groupby(ordered, key=lambda one: (one.agent_id, one.attempt))
    ]
    return sorted(groups, key=lambda group: group[1][-1].sampled_at)
