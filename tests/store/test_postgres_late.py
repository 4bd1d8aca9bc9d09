"""Appends to PostgreSQL that the network keeps back, while their sender gives the connection up and goes on."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from eventstore.errors import StoreUnavailable
from eventstore.postgres_errors import place_of
from eventstore.postgres_session import WHOSE, Session, end
from eventstore.postgres_source import Link, connect
from eventstore.record import NewEvent
from eventstore.store import EventStore
from tests.support.cluster import Cluster
from tests.support.histories import new, note
from tests.support.processes import eventually
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.postgres
LOST = """SELECT pid FROM pg_stat_activity
    WHERE application_name = 'outlive' AND datname = current_database() AND query = 'COMMIT'"""


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Between the store and its server."""
    with proxied(cluster.directory) as proxy:
        yield proxy


@pytest.fixture
def as_another(cluster: Cluster, url: str) -> Iterator[str]:
    """The database as somebody who takes on a role in which he does not see his own sessions."""
    cluster.run("CREATE ROLE late_writers; CREATE ROLE late LOGIN IN ROLE late_writers")
    cluster.run("ALTER ROLE late SET role = late_writers")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("GRANT CREATE ON SCHEMA public TO late_writers")
        yield url.replace("owner@", "late@")
        owner.execute("DROP OWNED BY late_writers, late; DROP ROLE late, late_writers")


def kept_back(store: EventStore, proxy: Proxy, *, before: int) -> NewEvent:
    """The event of an append that is on its way, after so many others; its sender was told that it is unclear."""
    for version in range(before):
        store.append("x/1", [new(note())], expected_version=version, epoch=None)
    event = new(note())
    proxy.holds = event.event_id.encode()
    with pytest.raises(StoreUnavailable):
        store.append("x/1", [event], expected_version=before, epoch=None)
    assert len(proxy.held) == 1
    proxy.state = "open"
    return event


def asked(store: EventStore, event: NewEvent) -> bool | str:
    """Whether the log has it, or why it cannot be asked."""
    try:
        return event.event_id in store.known([event.event_id])
    except StoreUnavailable as error:
        return str(error)


def delivered_in_vain(store: EventStore, proxy: Proxy, event: NewEvent, *, before: int) -> None:
    """Once the log has said that it does not hold the event, it stays so until that is appended again."""
    eventually(lambda: asked(store, event) is False, "the log says that it does not hold it", seconds=30)
    proxy.deliver()
    assert store.head().position == before
    store.append("x/1", [event], expected_version=before, epoch=None)
    assert [row.event_id for row in store.read(after=before)] == [event.event_id]
    assert store.verify().is_intact


@pytest.mark.parametrize("before", [1, 3], ids=["asking-first", "in-one-message"])
def test_an_append_was_stored_after_its_sender_had_looked_for_it(url: str, proxy: Proxy, before: int) -> None:
    """The next connection ends the session of the one before, so that no message still comes through it."""
    with EventStore.open(proxy.url(url), home="home-1", host="host-1") as store:
        event = kept_back(store, proxy, before=before)
        delivered_in_vain(store, proxy, event, before=before)


def test_a_session_that_a_role_may_not_end(as_another: str, url: str, proxy: Proxy) -> None:
    """It is told which right is missing, and nothing is said about the log before it is there."""
    terminate = "EXECUTE ON FUNCTION pg_terminate_backend"
    with (
        EventStore.open(proxy.url(as_another), home="home-1", host="host-1") as store,
        psycopg.connect(url, autocommit=True) as owner,
    ):
        event = kept_back(store, proxy, before=3)
        owner.execute(f"REVOKE {terminate} FROM PUBLIC".encode())
        eventually(lambda: "let it execute" in str(asked(store, event)), "it is told", seconds=30)
        owner.execute(f"GRANT {terminate} TO late".encode())
        delivered_in_vain(store, proxy, event, before=3)


def test_a_session_that_hangs(url: str, proxy: Proxy) -> None:
    """Its process is named, and it is tried again until it has ended."""
    with EventStore.open(proxy.url(url), home="home-1", host="host-1") as store:
        event = kept_back(store, proxy, before=3)
        with psycopg.connect(url, autocommit=True) as owner:
            [pid] = [pid for (pid,) in owner.execute(LOST)]
        os.kill(pid, signal.SIGSTOP)
        try:
            told = f"process {pid} of the server, may still store"
            eventually(lambda: told in str(asked(store, event)), "it is told", seconds=60)
        finally:
            os.kill(pid, signal.SIGCONT)
        delivered_in_vain(store, proxy, event, before=3)


def test_a_pid_that_somebody_else_has_by_now(url: str) -> None:
    """His session is left alone, and so is one's own, which a pooler may have given to two of our connections."""
    place = place_of(url)
    with closing(connect(Link, place, WHOSE)) as other, closing(connect(Link, place, WHOSE)) as own:
        session = Session(*other.told)
        end(Session(session.pid, "1.000000"), own, place)
        end(Session(*own.told), own, place)
        assert other.execute("SELECT 1").fetchall() == [(1,)]
        end(session, own, place)
        end(session, own, place)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
