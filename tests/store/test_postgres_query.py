"""A stranger's query on PostgreSQL reads, and does nothing else: no write, no second statement, no endless work."""

from collections.abc import Iterator

import pytest

from eventstore.errors import InvalidRequest
from eventstore.query import QueryTimedOut, ask
from eventstore.store import EventStore
from tests.support.cluster import Cluster
from tests.support.histories import new, note

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def log(cluster: Cluster) -> Iterator[str]:
    """A log of five events, which is the same afterwards."""
    url = cluster.new_database()
    with EventStore.open(url, home="home-1", host="host-1") as store:
        for number in range(5):
            store.append("home/1", [new(note(str(number)))], expected_version=number, epoch=None)
        before = store.head()
        yield url
        assert store.head() == before
    cluster.drop(url)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO projections VALUES ('x', 1, 1)",
        "WITH x AS (DELETE FROM samples RETURNING 1) SELECT * FROM x",
        "SELECT * FROM epochs FOR UPDATE",
        "SELECT nextval('x')",
        "CREATE TEMP TABLE x AS SELECT 1",
        "COPY events TO '/tmp/outlive-copy'",
        "SELECT 1; SELECT 2",
        "SELECT 1) AS x; DROP TABLE samples; --",
        "COMMIT; DROP TABLE samples",
        "SET default_transaction_read_only = off",
        "",
        "-- nothing",
        "SELECT",
        "SELECT nothing FROM events",
        "SELECT * FROM gossip",
        "SELECT $1",
        "SELECT '\0'",
        "SELECT '\ud800'",
    ],
)
def test_what_does_not_only_read_is_refused(log: str, statement: str) -> None:
    """With one error that says what is wrong, whatever it is that was asked for."""
    with pytest.raises(InvalidRequest, match="cannot run this statement: "):
        ask(log, statement, limit=10, seconds=30)


def test_what_reads_is_answered(log: str) -> None:
    """Any one SELECT, up to the limit of rows, as plain values."""
    answer = ask(log, "SELECT position FROM events ORDER BY position; ", limit=3, seconds=30)
    assert answer == (("position",), [(1,), (2,), (3,)], True)
    values = (
        "SELECT 1 % 2, 1.5::numeric, '\\xff'::bytea, NULL, 'a', true, date '2026-01-02', data_json"
        " FROM events LIMIT 1 -- ?"
    )
    ((*plain, when, body),) = ask(log, values, limit=3, seconds=30).rows
    assert (plain, when) == ([1, 1.5, b"\xff", None, "a", True], "2026-01-02")
    assert '"version": "0"' in body
    assert ask(log, "VALUES (1), (2)", limit=2, seconds=30).is_cut is False


def test_work_without_end_ends_in_time(log: str) -> None:
    """The server ends it."""
    with pytest.raises(QueryTimedOut, match=r"has taken 0\.2 s"):
        ask(log, "SELECT count(*) FROM generate_series(1, 1000000000000)", limit=1, seconds=0.2)


def test_many_long_values_took_all_memory(log: str) -> None:
    """Each of 10 MB, a hundred of them."""
    with pytest.raises(InvalidRequest, match="cannot show more than 64 MiB at once"):
        ask(log, "SELECT repeat('x', 10000000) FROM generate_series(1, 100)", limit=1000, seconds=60)
