"""What a picture of an agent's life shows: bands, marks and lines in lanes, over a window of time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "starting", "running", "stopping", "waiting", "unseen",
    "asked", "term", "kill", "late",
    "healthy", "degraded", "unhealthy", "unknown",
    "up", "lost",
    "open", "completed", "failed", "cancelled", "killed",
]  # fmt: skip
Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A stretch of time in a lane. Of `unseen` and `lost` nobody knows more than that it was somewhere in there."""

    start: int
    end: int
    kind: Kind
    label: str
    title: str
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A signal. `is_ours` false: somebody else sent it."""

    at: int
    label: str
    title: str
    is_ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What happened in a window of time, a field a lane. `memory` and `cpu` are runs of samples without gaps."""

    start: int
    end: int
    attempts: tuple[Band, ...]
    states: tuple[Band, ...]
    stops: tuple[Band, ...]
    signals: tuple[Mark, ...]
    health: tuple[Band, ...]
    memory: tuple[Points, ...]
    cpu: tuple[Points, ...]
    coordinators: tuple[Band, ...]

    def within(self, start: int, end: int) -> Life:
        """The part of it in a shorter window."""
        return replace(
            self,
            start=start,
            end=end,
            attempts=_cut(self.attempts, start, end),
            states=_cut(self.states, start, end),
            stops=_cut(self.stops, start, end),
            signals=tuple(mark for mark in self.signals if start <= mark.at <= end),
            health=_cut(self.health, start, end),
            memory=_cut_runs(self.memory, start, end),
            cpu=_cut_runs(self.cpu, start, end),
            coordinators=_cut(self.coordinators, start, end),
        )


def _cut(bands: tuple[Band, ...], start: int, end: int) -> tuple[Band, ...]:
    return tuple(
        replace(band, start=max(band.start, start), end=min(band.end, end))
        for band in bands
        if band.start <= end and band.end >= start
    )


def _cut_runs(runs: tuple[Points, ...], start: int, end: int) -> tuple[Points, ...]:
    inside = (tuple((at, value) for at, value in run if start <= at <= end) for run in runs)
    return tuple(run for run in inside if run)
