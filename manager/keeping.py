"""Keeping samples: rows are written, thinned and taken out in small steps, a short transaction at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Container, Sequence

from eventstore import samples
from eventstore.samples import Sample
from eventstore.statements import Statements
from eventstore.store import EventStore
from manager.thinning import MOST_ROWS_AN_AGENT, THIN_FROM_ROWS, Plan, surplus

PATIENCE_SECONDS = 0.25  # for somebody else who writes
TIDY_SECONDS = 60.0
REMOVED_AT_ONCE = 1_000
THINNED_AT_ONCE = 20


class Keeper:
    """The one who writes the table of samples. It remembers how many there are, so it is for one thread."""

    def __init__(self, store: EventStore, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._tidy_due = 0.0
        self._counts: dict[str, int] = {}
        self._total: int | None = None

    def is_tidying_due(self) -> bool:
        """Whether it is time to look for samples that are too old."""
        return time.monotonic() >= self._tidy_due

    def forget_all_but(self, agents: Container[str]) -> None:
        """Remember nothing of other agents."""
        self._counts = {agent: rows for agent, rows in self._counts.items() if agent in agents}

    def keep(self, rows: Sequence[Sample], at: int) -> None:
        """Write samples taken at `at`, and take out what is too much or too old. Raises `OutliveError`."""
        try:
            self._keep(rows, at)
        except BaseException:  # whether they were written may be unknown
            self._counts, self._total = {}, None
            raise

    def _keep(self, rows: Sequence[Sample], at: int) -> None:
        total = self._learn(rows)
        thinned = self._thinned(rows, at)
        lost = {agent: len(some) for agent, some in thinned.items()}
        kept = [
            row for row in rows if self._counts[row.agent_id] - lost.get(row.agent_id, 0) < MOST_ROWS_AN_AGENT
        ]
        removed = 0
        is_tidy_due = self.is_tidying_due()
        with self._store.write(wait_seconds=PATIENCE_SECONDS) as connection:
            statements = Statements(connection)
            samples.insert(statements, kept)
            samples.remove(statements, [row for some in thinned.values() for row in some])
            total += len(kept) - sum(lost.values())
            if is_tidy_due:
                oldest = at - round(self._plan.keep_seconds * 1e6)
                removed = samples.remove_before(statements, oldest, REMOVED_AT_ONCE)
            if total - removed > self._plan.most_rows:
                excess = total - removed - self._plan.most_rows
                removed += samples.remove_oldest(statements, min(excess, REMOVED_AT_ONCE))
        self._total = total - removed
        for row in kept:
            self._counts[row.agent_id] += 1
        for agent, count in lost.items():
            self._counts[agent] -= count
        if is_tidy_due and removed < REMOVED_AT_ONCE:
            self._tidy_due = time.monotonic() + TIDY_SECONDS

    def _learn(self, rows: Sequence[Sample]) -> int:
        unknown = [row.agent_id for row in rows if row.agent_id not in self._counts]
        if self._total is None or unknown:
            with contextlib.closing(self._store.reader()) as reader:
                self._counts |= {agent: samples.count(reader, agent) for agent in unknown}
                self._total = samples.count(reader) if self._total is None else self._total
        return self._total

    def _thinned(self, rows: Sequence[Sample], at: int) -> dict[str, list[Sample]]:
        """What goes of the agents that have many rows, the fullest first."""
        many = [row.agent_id for row in rows if self._counts[row.agent_id] >= THIN_FROM_ROWS]
        if not many:
            return {}
        many.sort(key=lambda agent: -self._counts[agent])
        found = {}
        with contextlib.closing(self._store.reader()) as reader:
            for agent in many[: max(THINNED_AT_ONCE, len(rows) // 50)]:
                has = samples.samples(reader, agent)
                self._counts[agent] = len(has)
                found[agent] = surplus(has, at, self._plan)
        return found
