"""A reader that shows the past: at every position exactly the rows that there were when the log ended there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import events as ev
from eventstore.errors import StoreUnavailable
from eventstore.reader import Reader
from eventstore.store import EventStore
from projections import past, queries
from projections.agents import AgentsProjection
from projections.rebuild import rebuild
from tests.store.agents import BACKOFF, FAILED, RUNNING, STARTED, append
from tests.store.conftest import Database
from tests.support.histories import legal_histories, reaped, spawning

Rows = tuple[list[queries.AgentRow], list[queries.AttemptRow], int]


@contextmanager
def _reader(url: str) -> Iterator[Reader]:
    reader = Reader.open(url)
    try:
        yield reader
    finally:
        reader.close()


def _rows(reader: Reader) -> Rows:
    agents = queries.agents(reader)
    attempts = [row for agent in agents for row in queries.attempts(reader, agent.agent_id)]
    return agents, attempts, len(list(reader.events()))


def _now(url: str) -> Rows:
    with _reader(url) as reader:
        return _rows(reader)


def _then(url: str, position: int) -> Rows:
    with _reader(url) as reader:
        past.show(reader, position=position, instant=0)
        assert reader.head().position == position
        return _rows(reader)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(legal_histories(max_size=15), min_size=1, max_size=3), st.data())
def test_at_every_position_the_past_is_what_was_shown_then(
    histories: list[list[ev.AgentEvent]], data: st.DataObject
) -> None:
    """Whatever agents lived through, in any order between each other, and after a rebuild: the same rows."""
    with TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'events.db'}"
        shown: list[Rows] = []
        with EventStore.open(url, home="h", host="x", inline=[AgentsProjection()]) as store:
            progress = [0] * len(histories)
            while left := [n for n, history in enumerate(histories) if progress[n] < len(history)]:
                number = data.draw(st.sampled_from(left))
                event = histories[number][progress[number]]
                if isinstance(event, ev.AgentSpawning):
                    event = spawning(event.attempt, name=f"n{number}")
                append(store, str(number), event, after=progress[number])
                progress[number] += 1
                shown.append(_now(url))
            assert [_then(url, position) for position in range(1, len(shown) + 1)] == shown
            rebuild(store)
            assert [_then(url, position) for position in range(1, len(shown) + 1)] == shown


def test_the_past_stands_still_while_the_log_goes_on(database: Database) -> None:
    """An agent that moves on after the past was opened keeps the row that it had, and the file cannot be written."""
    store = database.open(inline=[AgentsProjection()])
    append(store, "a", spawning(name="a"), STARTED)
    append(store, "b", spawning(name="b"), STARTED)
    with _reader(database.url) as reader:
        past.show(reader, position=3, instant=0)
        before = _rows(reader)
        assert [row.state for row in before[0]] == ["SPAWNING", "SPAWNING"]
        append(store, "a", RUNNING, reaped(), FAILED, BACKOFF, after=2)
        append(store, "b", RUNNING, after=2)
        assert _rows(reader) == before
        with reader.snapshot():
            assert _rows(reader) == before
        schema = "main" if database.is_sqlite else "public"
        with pytest.raises(StoreUnavailable):
            reader.rows(f"DELETE FROM {schema}.agents")
    assert [row.state for row in _now(database.url)[0]] == ["BACKOFF", "RUNNING"]
