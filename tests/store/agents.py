"""Agents to append to a log and rows to read back, for the tests of the projection."""

from eventstore import events as ev
from eventstore.store import EventStore
from projections import queries
from tests.support.histories import PROCESS, new

STARTED = ev.AgentStarted(attempt=1, process=PROCESS)
RUNNING = ev.AgentRunning(attempt=1, evidence="alive")
FAILED = ev.AgentFailed(
    attempt=1, cause="exit", message="exit code 7", phase=None, errno=None, last_output=None
)
BACKOFF = ev.RestartScheduled(
    attempt=1, next_attempt=2, delay_seconds=1.0, due_at=9_000, used=1, reason="policy"
)


def append(store: EventStore, agent_id: str, *events: ev.Event, after: int = 0) -> None:
    """Append to an agent's stream, the events 1 µs apart."""
    store.append(
        f"agent/{agent_id}",
        [new(event, at=1_000 + after + at) for at, event in enumerate(events)],
        expected_version=after,
        epoch=None,
    )


def agents_of(store: EventStore) -> list[queries.AgentRow]:
    """All agents' rows."""
    reader = store.reader()
    try:
        return queries.agents(reader)
    finally:
        reader.close()


def attempts_of(store: EventStore, agent_id: str) -> list[queries.AttemptRow]:
    """The rows of one agent's attempts."""
    reader = store.reader()
    try:
        return queries.attempts(reader, agent_id)
    finally:
        reader.close()
