"""Appends to PostgreSQL: how often they ask, and what comes of a belief that is wrong."""

import psycopg
import pytest

from eventstore.errors import EpochFenced, InvalidRequest, NameInUse, StoreUnavailable, VersionConflict
from eventstore.events import Event
from eventstore.statements import Statements
from eventstore.store import EventStore
from projections.agents import AgentsProjection
from tests.store.agents import RUNNING, STARTED, append
from tests.support.cluster import Cluster
from tests.support.histories import new, note, spawning
from tests.support.proxy import proxied

pytestmark = pytest.mark.postgres


def test_an_append_takes_one_round_trip_and_two_after_somebody_elses(cluster: Cluster, url: str) -> None:
    """Who appends alone only checks what is known; else the lock with all questions first, then rows and COMMIT."""
    with (
        proxied(cluster.directory) as proxy,
        EventStore.open(proxy.url(url), home="home-1", host="host-1", inline=[AgentsProjection()]) as store,
    ):

        def trips(agent: str, *events: Event, after: int = 0) -> int:
            before = proxy.asked
            append(store, agent, *events, after=after)
            return proxy.asked - before

        append(store, "a1", spawning(name="n1"))
        assert trips("a2", spawning(name="n2"), STARTED) == 2
        assert (trips("a2", RUNNING, after=2), trips("a3", spawning(name="n3"))) == (1, 1)
        somebody_else(url)
        assert trips("a4", spawning(name="n4")) == 4  # what was believed was wrong, and is rolled back
        assert (trips("a4", STARTED, after=1), trips("a4", RUNNING, after=2)) == (2, 1)


def somebody_else(url: str, name: str = "note") -> None:
    """Appends an event as another process does."""
    with EventStore.open(url, home="home-2", host="host-2", inline=[AgentsProjection()]) as other:
        other.append(f"x/{name}", [new(note())], expected_version=0, epoch=None)


def test_what_is_refused_for_a_wrong_belief_is_asked_again(url: str) -> None:
    """The same answers as from a log that is looked at first: a retry, a conflict, a name, an old epoch."""
    inline = [AgentsProjection()]
    with EventStore.open(url, home="home-1", host="host-1", inline=inline) as store:
        store.begin_epoch(lambda number: new(note()), stream="home/1")
        for number in range(3):
            append(store, f"a{number}", spawning(name=f"n{number}"))
        event = new(note())
        with EventStore.open(url, home="home-1", host="host-1", inline=[AgentsProjection()]) as other:
            first = other.append("x/1", [event], expected_version=0, epoch=None)
            append(other, "b", spawning(name="taken"))
            append(other, "a1", STARTED, after=1)
        assert store.append("x/1", [event], expected_version=0, epoch=None) == first
        for _ in range(3):  # until it believes again
            store.append("y/1", [new(note())], expected_version=len([*store.read(stream="y/1")]), epoch=None)
        assert store.append("x/1", [event], expected_version=0, epoch=None) == first
        with pytest.raises(NameInUse, match="taken"):
            append(store, "c", spawning(name="taken"))
        for expected in (0, 5):
            with pytest.raises(VersionConflict) as conflict:
                store.append("y/1", [new(note())], expected_version=expected, epoch=None)
            assert conflict.value.actual == 3
        with pytest.raises(VersionConflict):
            append(store, "a1", RUNNING, after=1)
        with EventStore.open(url, home="home-1", host="host-1") as successor:
            successor.begin_epoch(lambda number: new(note()), stream="home/1")
        with pytest.raises(EpochFenced):
            store.append("y/1", [new(note())], expected_version=3, epoch=1)
        assert store.verify().is_intact


def test_many_rows_and_a_text_that_no_column_can_hold(url: str) -> None:
    """Rows go many to a statement, in order, whatever their number; what libpq would cut off is refused."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        for count in (1, 16, 17, 64, 171):
            events = [new(note(str(number))) for number in range(count)]
            store.append(f"x/{count}", events, expected_version=0, epoch=None)
            assert [row.event_id for row in store.read(stream=f"x/{count}")] == [
                one.event_id for one in events
            ]
        assert store.verify().is_intact
        with pytest.raises(InvalidRequest, match="NUL"), store.write() as connection:
            Statements(connection).run("INSERT INTO epochs (home, epoch) VALUES (?, ?)", ("a\0b", 1))
        store.append("x/1", [new(note())], expected_version=1, epoch=None)


def test_an_append_read_whole_tables_once_they_had_grown(url: str) -> None:
    """Its plans were made when they were small, and it keeps them: each question has its index."""

    def scans(stream: str, appends: int) -> int:
        """How often tables are read whole by two that append in turn, so that each has to ask."""
        asked = "SELECT coalesce(sum(seq_scan), 0)::int FROM pg_stat_user_tables WHERE relname = 'events'"
        with psycopg.connect(url, autocommit=True) as stranger:
            [(before,)] = stranger.execute(asked).fetchall()
            stores = [EventStore.open(url, home=home, host="host-1") for home in ("home-1", "home-2")]
            for number in range(appends):
                for store in stores:
                    version = number * 2 + stores.index(store)
                    store.append(stream, [new(note())], expected_version=version, epoch=None)
            for store in stores:
                store.close()
            [(after,)] = stranger.execute(asked).fetchall()
        return int(after) - int(before)

    scans("x/0", 1)  # which makes the tables
    assert scans("x/1", 20) < 20  # of 40 appends; opening them takes some


def test_what_was_refused_with_its_commit_was_perhaps_stored(url: str) -> None:
    """The rows went with the COMMIT in one message, and the server took neither."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(
                "CREATE FUNCTION full_() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END$$"
            )
            owner.execute("CREATE TRIGGER full_ BEFORE INSERT ON events EXECUTE FUNCTION full_()")
        with pytest.raises(StoreUnavailable, match="the server's disk is full") as refused:
            store.append("x/2", [new(note())], expected_version=0, epoch=None)
        assert "unknown" not in str(refused.value)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("DROP TRIGGER full_ ON events; DROP FUNCTION full_()")
        assert [event.stream for event in store.read()] == ["x/1"]
