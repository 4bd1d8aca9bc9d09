"""The attempts that analytics work on, and how they looked at an earlier time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple


class Attempt(NamedTuple):
    """One attempt. Times in microseconds, UTC; what is not known (yet) is None.

    `restart_number`: 0 for the first of a row, k for the k-th automatic restart in a row. `agent_over_at`: since when
    its agent has ended, with no further attempt to come.
    """

    agent_id: str
    attempt: int
    name: str
    requested_at: int
    started_at: int | None = None
    ended_at: int | None = None
    outcome: str | None = None
    cause: str | None = None
    fingerprint: str | None = None
    restart_number: int = 0
    cpu_seconds: float | None = None
    max_memory_bytes: int | None = None
    has_given_up: bool = False
    agent_over_at: int | None = None

    @property
    def duration_seconds(self) -> float | None:
        """From its start to its end; None while it runs, and where a clock was set back."""
        if self.started_at is None or self.ended_at is None or self.ended_at < self.started_at:
            return None
        return (self.ended_at - self.started_at) / 1e6

    @property
    def is_running(self) -> bool:
        """Whether it was started and has no end."""
        return self.started_at is not None and self.ended_at is None and self.outcome is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended in a way that nobody asked for."""
        return self.outcome in ("FAILED", "LOST")


def as_of(attempts: Iterable[Attempt], at: int) -> list[Attempt]:
    """The attempts as they were known at a time: what came later is taken away."""
    return [_as_of(one, at) for one in attempts if one.requested_at <= at]


def _as_of(one: Attempt, at: int) -> Attempt:
    if one.agent_over_at is not None and one.agent_over_at > at:
        one = one._replace(agent_over_at=None)
    return one if one.ended_at is None or one.ended_at <= at else _not_ended(one, at)


def _not_ended(one: Attempt, at: int) -> Attempt:
    return one._replace(
        started_at=one.started_at if one.started_at is not None and one.started_at <= at else None,
        ended_at=None,
        outcome=None,
        cause=None,
        fingerprint=None,
        cpu_seconds=None,
        max_memory_bytes=None,
        has_given_up=False,
    )


def by_name(attempts: Iterable[Attempt]) -> Mapping[str, list[Attempt]]:
    """Attempts of agents of the same name, each list in the order of their requests."""
    ordered = sorted(attempts, key=lambda one: (one.name, one.requested_at, one.agent_id, one.attempt))
    return {name: list(some) for name, some in groupby(ordered, key=lambda one: one.name)}
