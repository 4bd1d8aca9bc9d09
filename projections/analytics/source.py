"""What analytics work on, from a database: the attempts in `runs`, and samples. Loads no SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.reader import Reader
from eventstore.samples import Sample, samples
from projections.analytics.history import Attempt

MOST_ATTEMPTS = 100_000
_SELECT = """
    SELECT runs.agent_id, runs.attempt, runs.name, runs.requested_at, runs.started_at,
        coalesce(runs.ended_at, runs.judged_at), runs.outcome, runs.cause, runs.fingerprint, runs.restart_number,
        runs.user_seconds + runs.system_seconds, runs.max_memory_bytes, runs.has_given_up,
        CASE WHEN agents.is_final = 1 THEN agents.since_at END
    FROM runs LEFT JOIN agents ON agents.agent_id = runs.agent_id
    WHERE runs.requested_at >= ? ORDER BY runs.requested_at DESC, runs.agent_id, runs.attempt LIMIT ?"""


def attempts(reader: Reader, *, since: int = 0) -> list[Attempt]:
    """Those that were asked for since a time, at most the last 100,000, oldest first, as far as `runs` has come."""
    rows = reader.rows(_SELECT, (since, MOST_ATTEMPTS))
    return [Attempt._make((*row[:-2], bool(row[-2]), row[-1])) for row in reversed(rows)]


def samples_of(reader: Reader, agents: Iterable[str]) -> dict[str, list[Sample]]:
    """The samples of these agents, each list in order of time."""
    return {agent: samples(reader, agent) for agent in agents}
