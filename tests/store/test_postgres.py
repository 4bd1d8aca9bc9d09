"""The log in PostgreSQL: what is about that database."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventstore import schema
from eventstore.errors import (
    InvalidRequest,
    NoDatabase,
    StoreUnavailable,
)
from eventstore.home_events import CoordinatorStarted
from eventstore.postgres_source import LOCK_SECONDS
from eventstore.reader import Reader
from eventstore.store import EventStore
from tests.store.conftest import Database
from tests.support.cluster import Cluster
from tests.support.histories import BOOT, new, note

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).parent.parent.parent
COPY = (
    "INSERT INTO events SELECT {} , event_id, stream, version + 9, type, schema_version, attempt, home, host, epoch,"
    " occurred_at, recorded_at, actor, correlation_id, causation_id, data, previous_hash, hash FROM events"
    " WHERE position = 2"
)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}' WHERE position = 2",
        "UPDATE events SET position = 9 WHERE position = 3",
        "DELETE FROM events WHERE position = 3",
        "DELETE FROM events",
        "TRUNCATE events",
        "TRUNCATE events, epochs, pruned CASCADE",
        COPY.format(5),
        COPY.format(4),
        COPY.format(4).replace("event_id,", "gen_random_uuid()::text,").replace("version + 9", "1"),
        COPY.format(2) + " ON CONFLICT (position) DO UPDATE SET data = '{}'",
        "CREATE TEMP TABLE events (position bigint, stream text, version bigint);"
        "INSERT INTO public.events SELECT 9" + COPY.partition("{} ")[2].replace("FROM events", "FROM public.events"),
        "INSERT INTO pruned VALUES (2, decode(repeat('00', 32), 'hex'), 0)",
        "INSERT INTO pruned SELECT position, hash, recorded_at FROM events WHERE position = 3",
        "UPDATE epochs SET epoch = 1",
        "UPDATE epochs SET home = 'other', epoch = 9",
        "DELETE FROM epochs",
        "TRUNCATE epochs",
        "INSERT INTO epochs VALUES ('home-1', 1) ON CONFLICT (home) DO UPDATE SET epoch = 1",
    ],
)  # fmt: skip
def test_the_database_refuses_to_change_history(url: str, statement: str) -> None:
    """UPDATE, DELETE, TRUNCATE and whatever is not the next row are refused, even to the owner."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        started = CoordinatorStarted(epoch=1, pid=1, boot_id=BOOT, version="1")
        store.begin_epoch(lambda _: new(started), stream="home/home-1")
        store.append("x/1", [new(note()), new(note())], expected_version=0, epoch=1)
        before = list(store.read())
        with psycopg.connect(url, autocommit=True) as owner, pytest.raises(psycopg.IntegrityError):
            owner.execute(statement.encode())
        assert list(store.read()) == before
        assert store.verify().is_intact


def test_who_may_only_read_cannot_keep_others_from_writing(cluster: Cluster, url: str) -> None:
    """No lock that a reader may take is one that an append waits for."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("CREATE ROLE looker LOGIN")
            owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
        with psycopg.connect(url.replace("owner@", "looker@")) as reader:
            for lock in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction():
                    reader.execute(f"SELECT 1 FROM epochs FOR {lock}".encode())
            for mode in ("ROW SHARE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction():
                    reader.execute(f"LOCK TABLE epochs IN {mode} MODE".encode())
            reader.execute("LOCK TABLE epochs IN ACCESS SHARE MODE")
            reader.execute("SELECT pg_advisory_xact_lock(1869968492, hashtext('public'))")
            store.append("x/1", [new(note())], expected_version=0, epoch=None)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("DROP OWNED BY looker; DROP ROLE looker")


def test_bodies_can_be_asked_for_their_fields(url: str) -> None:
    """`data_json` is the body for whoever reports; what is hashed is the text beside it."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        store.append("x/1", [new(note("naïve ☃"))], expected_version=0, epoch=None)
    with psycopg.connect(url) as stranger:
        assert stranger.execute("SELECT data_json ->> 'version' FROM events").fetchall() == [("naïve ☃",)]


def test_bodies_for_reports_could_be_changed_and_verify_said_nothing(url: str) -> None:
    """They are not hashed; that the database makes them from what is, is what makes them true."""
    with EventStore.open(url, home="home-1", host="host-1") as store, closing(store.reader()) as reader:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
        assert reader.faults() == []
        with psycopg.connect(url) as owner:
            owner.execute("ALTER TABLE events ALTER COLUMN data_json DROP EXPRESSION")
        assert [line.split()[0] for line in reader.faults()] == ["data_json"]


def test_a_server_that_restarts_is_found_again(cluster: Cluster, url: str) -> None:
    """An open store and an open reader go on when the server is back; in between they say that it is away."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
        assert store.head().position == 1
        cluster.stop()
        event = new(note())
        try:
            for _ in range(2):
                begun = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    store.append("x/1", [event], expected_version=1, epoch=None)
                with pytest.raises(StoreUnavailable):
                    store.head()
                assert time.monotonic() - begun < 2
        finally:
            cluster.start()
        deadline = time.monotonic() + 20
        while store.head().position == 1 and time.monotonic() < deadline:
            try:
                store.append("x/1", [event], expected_version=1, epoch=None)
            except StoreUnavailable:
                time.sleep(0.1)
        assert [row.event_id for row in store.read(after=1)] == [event.event_id]


def test_a_restart_between_two_appends_costs_nothing(cluster: Cluster, url: str) -> None:
    """Nobody is told of a connection that was lost while it was not in use."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
        cluster.stop()
        cluster.start()
        store.append("x/1", [new(note())], expected_version=1, epoch=None)
        assert store.head().position == 2


def test_a_writer_that_is_stopped_stops_nobody_for_long(url: str) -> None:
    """SIGSTOP between the lock and the commit: the server ends its transaction, and it learns that when it goes on."""
    program = (
        "import os, signal, sys; from eventstore.store import EventStore\n"
        "from tests.support.histories import new, note\n"
        "s = EventStore.open(sys.argv[1], home='h', host='x')\n"
        "with s.write() as c:\n    c.exec_driver_sql('SELECT 1')\n    print('held', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    with EventStore.open(url, home="home-1", host="host-1") as store:
        stopped = subprocess.Popen(
            [sys.executable, "-c", program, url],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert stopped.stdout is not None
            assert stopped.stdout.readline() == "held\n"
            deadline, said = time.monotonic() + 30, list[str]()
            while store.head().position == 0 and time.monotonic() < deadline:
                try:
                    store.append("x/1", [new(note())], expected_version=0, epoch=None)
                except StoreUnavailable as error:
                    said.append(str(error))
            assert all("has been held for" in text for text in said)
            assert store.head().position == 1
            stopped.send_signal(signal.SIGCONT)
            assert "StoreUnavailable" in stopped.communicate(timeout=30)[1]
        finally:
            stopped.kill()
            stopped.communicate()


def test_each_append_waited_for_a_held_lock_anew(url: str) -> None:
    """`outlive stop` took 38 s, and told of 6: the waits that follow one in vain are short, until the lock was had."""

    def wait_seconds(store: EventStore) -> float:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"has been held for \d+ s"):
            store.append("x/1", [new(note())], expected_version=1, epoch=None)
        return time.monotonic() - begun

    with EventStore.open(url, home="home-1", host="host-1") as store, psycopg.connect(url) as stranger:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
        stranger.execute("LOCK TABLE epochs IN EXCLUSIVE MODE")
        assert wait_seconds(store) >= LOCK_SECONDS
        assert min(wait_seconds(store), wait_seconds(store)) < LOCK_SECONDS
        stranger.rollback()
        store.append("x/1", [new(note())], expected_version=1, epoch=None)
        stranger.execute("LOCK TABLE epochs IN EXCLUSIVE MODE")
        assert wait_seconds(store) >= LOCK_SECONDS


def test_two_schemas_of_a_database_are_two_logs(cluster: Cluster, url: str) -> None:
    """Each has its own tables and its own lock."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA other")
    there = f"{url}&options=-csearch_path%3Dother"
    with (
        EventStore.open(url, home="home-1", host="host-1") as one,
        EventStore.open(there, home="home-1", host="host-1") as other,
        one.write(),
    ):
        other.append("x/1", [new(note())], expected_version=0, epoch=None)
        assert (one.head().position, other.head().position) == (0, 1)


def test_eight_threads_of_a_store_share_its_connection(url: str) -> None:
    """Positions are dense, versions are each thread's own."""
    with EventStore.open(url, home="home-1", host="host-1") as store:

        def append(name: str) -> None:
            for version in range(20):
                store.append(name, [new(note())], expected_version=version, epoch=None)

        threads = [threading.Thread(target=append, args=(f"x/{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [row.position for row in store.read()] == list(range(1, 161))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://owner@/none?host=/nowhere", StoreUnavailable),
        ("postgresql://127.0.0.1:1/none", StoreUnavailable),
        ("postgresql://user:hunter2@127.0.0.1:1/none", StoreUnavailable),
        ("postgresql://[", InvalidRequest),
        ("mysql://localhost/x", InvalidRequest),
    ],
)
def test_what_cannot_be_opened_is_told_without_the_password(url: str, error: type[Exception]) -> None:
    """The reader and the store say the same, soon, and what to do."""
    for attempt in (lambda: Reader.open(url), lambda: EventStore.open(url, home="h", host="x")):
        with pytest.raises(error, match=r"^cannot .*") as caught:
            attempt()
        assert "hunter2" not in str(caught.value)


def test_another_encoding_is_refused(cluster: Cluster) -> None:
    """Texts are hashed as UTF-8; a database that would keep other bytes is none for a log."""
    cluster.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with pytest.raises(StoreUnavailable, match="create it with ENCODING 'UTF8'"):
        schema.upgrade(cluster.url("latin"))
    cluster.drop(cluster.url("latin"))


def test_an_empty_database_reads_as_nothing(url: str) -> None:
    """Until something is recorded, and reading makes no tables."""
    with pytest.raises(NoDatabase):
        Reader.open(url)
    assert schema.current(url) is None
    assert schema.upgrade(url) == schema.current(url)


def test_the_way_through_sqlite_loads_no_driver_of_postgresql(tmp_path: Path) -> None:
    """Nor the dialect: they cost a start 60 ms. (Making a new database loads alembic, which does.)"""
    EventStore.open(f"sqlite:///{tmp_path}/events.db", home="h", host="x").close()
    program = (
        "import sys; from eventstore.store import EventStore; import manager\n"
        "from projections.agents import AgentsProjection\n"
        "EventStore.open(sys.argv[1], home='h', host='x', inline=[AgentsProjection()]).close()\n"
        "print([name for name in sys.modules if 'psycopg' in name or 'dialects.postgresql' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{tmp_path}/events.db"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_a_listing_from_postgresql_loads_neither_sqlalchemy_nor_pydantic(database: Database) -> None:
    """The driver is enough to read."""
    database.open()
    program = (
        "import sys; from eventstore.reader import Reader; from projections import queries\n"
        "r = Reader.open(sys.argv[1]); queries.agents(r); r.head(); r.close()\n"
        "print([name for name in ('sqlalchemy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, database.url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
