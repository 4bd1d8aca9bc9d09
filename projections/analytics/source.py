"""What analytics work on, from a database: the attempts in `runs`, and samples. Loads no SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.reader import Reader
from eventstore.samples import Sample, samples
from projections.analytics.history import Attempt

MOST_ATTEMPTS = 100_000
_SELECT = """
    SELECT agent_id, attempt, name, requested_at, started_at, coalesce(ended_at, judged_at), outcome, cause,
        fingerprint, restart_number, user_seconds + system_seconds, max_memory_bytes, has_given_up
    FROM runs WHERE requested_at >= ? ORDER BY requested_at DESC, agent_id, attempt LIMIT ?"""


def attempts(reader: Reader, *, since: int = 0) -> list[Attempt]:
    """Those that were asked for since a time, at most the last 100,000, oldest first, as far as `runs` has come."""
    rows = reader.rows(_SELECT, (since, MOST_ATTEMPTS))
    return [Attempt._make((*row[:-1], bool(row[-1]))) for row in reversed(rows)]


def samples_of(reader: Reader, agents: Iterable[str]) -> dict[str, list[Sample]]:
    """The samples of these agents, each list in order of time."""
    return {agent: samples(reader, agent) for agent in agents}
