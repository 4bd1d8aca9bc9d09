"""The table of samples: bounded for each agent and in all, and never in the way of the log."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.reader import Reader
from eventstore.samples import Sample, count, samples
from eventstore.store import EventStore
from manager import thinning
from manager.keeping import Keeper
from manager.thinning import MOST_ROWS_AN_AGENT, Plan
from tests.store.conftest import Database

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND


@pytest.fixture
def reader(store: EventStore) -> Iterator[Reader]:
    """A reader beside the one that writes."""
    with closing(store.reader()) as opened:
        yield opened


def sample(agent: str, at: int, memory: int = 1, attempt: int = 1) -> Sample:
    """A sample of an agent."""
    return Sample(agent, attempt, at, 12.5, memory, 2, 3)


def test_samples_come_back_in_order_of_time(store: EventStore, reader: Reader) -> None:
    """All of an agent's, or one attempt's; of the same moment one is enough."""
    keeper = Keeper(store, Plan())
    keeper.keep([sample("a", NOW + SECOND, attempt=2), sample("b", NOW)], NOW)
    keeper.keep([sample("a", NOW), sample("b", NOW)], NOW)
    assert samples(reader, "a") == [sample("a", NOW), sample("a", NOW + SECOND, attempt=2)]
    assert samples(reader, "a", attempt=2) == [sample("a", NOW + SECOND, attempt=2)]
    assert samples(reader, "b") == [sample("b", NOW)]
    assert samples(reader, "nobody") == []
    assert samples(reader, "a")[0].as_json()["sampled_at"] == "2023-11-14T22:13:20.000000Z"


def test_an_agent_has_a_thousand_at_the_most(store: EventStore, reader: Reader) -> None:
    """However long it lives and however often its coordinator is a new one; the newest are all there."""
    keeper, at = Keeper(store, Plan()), NOW
    keeper.keep([sample("a", NOW - number * SECOND) for number in range(880)], NOW)
    for number in range(600):
        if number % 150 == 0:
            keeper = Keeper(store, Plan())
        at += (10 if number % 3 else 600) * SECOND
        keeper.keep([sample("a", at, memory=number)], at)
        if number % 50 == 0:
            assert count(reader, "a") <= MOST_ROWS_AN_AGENT
    left = samples(reader, "a")
    assert len(left) <= MOST_ROWS_AN_AGENT
    assert [row.memory_bytes for row in left[-5:]] == [595, 596, 597, 598, 599]
    assert left[0].sampled_at < NOW


def test_a_full_agent_gets_no_more_rows(
    store: EventStore, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where thinning has not come round to an agent, its samples are left out: the bound holds all the same."""
    monkeypatch.setattr("manager.keeping.THINNED_AT_ONCE", 0)
    monkeypatch.setattr("manager.keeping.MOST_ROWS_AN_AGENT", 20)
    monkeypatch.setattr("manager.keeping.THIN_FROM_ROWS", 10)
    keeper = Keeper(store, Plan())
    for number in range(30):
        keeper.keep([sample("a", NOW + number)], NOW)
    assert count(reader, "a") == 20


def test_what_is_too_old_goes_in_small_steps(
    store: EventStore, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples older than the days to keep are taken out, a bounded number a transaction, those of ended agents too."""
    monkeypatch.setattr("manager.keeping.REMOVED_AT_ONCE", 40)
    Keeper(store, Plan(keep_days=2)).keep([sample("ended", NOW + number) for number in range(100)], NOW)
    left = []
    for _ in range(4):
        keeper = Keeper(store, Plan(keep_days=2))
        keeper.keep([], NOW + 3 * DAY)
        left.append((count(reader, "ended"), keeper.is_tidying_due()))
    assert left == [(60, True), (20, True), (0, False), (0, False)]


def test_all_agents_together_have_a_bound(store: EventStore, reader: Reader) -> None:
    """Past the number for all agents the oldest go, whoever's they are; what is written now stays."""
    keeper = Keeper(store, Plan(most_rows=300))
    for number in range(30):
        at = NOW + number * SECOND
        keeper.keep([sample(f"agent-{number}-{one}", at) for one in range(20)], at)
    assert count(reader) == 300
    assert count(reader, "agent-29-0") == 1
    assert count(reader, "agent-0-0") == 0


def test_what_others_took_out_is_noticed(store: EventStore, reader: Reader) -> None:
    """An agent whose rows went by another way than thinning is sampled on: a count in memory is no verdict."""
    keeper = Keeper(store, Plan())
    keeper.keep([sample("a", NOW + number) for number in range(thinning.THIN_FROM_ROWS)], NOW)
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM samples")
    for number in range(120):
        keeper.keep([sample("a", NOW + DAY + number)], NOW + DAY)
    assert count(reader, "a") == 120


def test_samples_wait_little_for_another_writer(
    database: Database, store: EventStore, reader: Reader
) -> None:
    """While somebody else holds the log, samples are given up soon and later ones are written as ever."""
    keeper = Keeper(store, Plan())
    other = database.open()
    with other.write():
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"has been held for 0\.25 s"):
            keeper.keep([sample("a", NOW)], NOW)
        assert time.monotonic() - begun < 5  # others wait for 10 s
    keeper.keep([sample("a", NOW + 1)], NOW)
    assert samples(reader, "a") == [sample("a", NOW + 1)]


def test_reading_samples_loads_no_library() -> None:
    """A command that shows them starts as quickly as the others."""
    program = (
        "import sys, eventstore.samples; print([m for m in ('sqlalchemy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
