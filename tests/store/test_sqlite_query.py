"""A stranger's query reads, and does nothing else: no write, no other file, no endless work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest, NoDatabase
from eventstore.query import QueryTimedOut, ask
from eventstore.store import EventStore
from tests.support.histories import new, note

FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A log of five events, which is the same afterwards."""
    path = tmp_path / "events.db"
    with EventStore.open(f"sqlite:///{path}", home="home-1", host="host-1") as store:
        for number in range(5):
            store.append("home/1", [new(note(str(number)))], expected_version=number, epoch=None)
    before = path.read_bytes()
    yield f"sqlite:///{path}"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO projections VALUES ('x', 1, 1)",
        "UPDATE projections SET position = 0",
        "DELETE FROM samples",
        "DROP TABLE samples",
        "DROP TRIGGER events_no_update",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "WITH x AS (SELECT 1) DELETE FROM samples",
        "ATTACH '/tmp/x.db' AS x",
        "VACUUM",
        "VACUUM INTO '/tmp/x.db'",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "BEGIN IMMEDIATE",
        "REINDEX",
        "ANALYZE",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE samples",
        "",
        "-- nothing",
        "SELECT",
        "SELECT * FROM gossip",
        "SELECT nothing FROM events",
        "SELECT ?",
        "SELECT :x",
        "SELECT '\0'",
        "SELECT '\ud800'",
        "SELECT zeroblob(1000000000)",
        "SELECT 1 LIKE '" + "%" * 2000 + "'",
    ],
)
def test_what_does_not_only_read_is_refused(url: str, statement: str) -> None:
    """With one error that says what is wrong, whatever it is that was asked for."""
    with pytest.raises(InvalidRequest, match="cannot run this statement: "):
        ask(url, statement, limit=10, seconds=30)
    assert not Path("/tmp/x.db").exists()


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("SELECT position FROM events ORDER BY position", [(1,), (2,), (3,)]),
        ("SELECT count(*), max(version) FROM events;", [(5, 5)]),
        ("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2) SELECT i FROM n", [(1,), (2,)]),
        ("PRAGMA table_info(epochs)", [(0, "home", "TEXT", 1, None, 1), (1, "epoch", "INTEGER", 1, None, 0)]),
        ("VALUES (NULL, 1.5, x'ff')", [(None, 1.5, b"\xff")]),
        ("SELECT json_extract(data, '$.version') FROM events WHERE position = 2", [("1",)]),
        ("SELECT cast(x'ff41' AS TEXT)", [("\udcffA",)]),
    ],
)  # fmt: skip
def test_what_reads_is_answered(url: str, statement: str, rows: list[tuple[object, ...]]) -> None:
    """Any one SELECT, up to the limit of rows."""
    answer = ask(url, statement, limit=3, seconds=30)
    assert answer.rows == rows
    assert answer.is_cut == ("ORDER BY position" in statement)


def test_work_without_end_ends_in_time(url: str) -> None:
    """A query that would go on for ever, or for a year, is given up."""
    for statement in (
        FOR_EVER,
        "SELECT count(*) FROM events a, events b, " + ", ".join(f"events c{n}" for n in range(12)),
    ):
        with pytest.raises(QueryTimedOut):
            ask(url, statement, limit=10, seconds=0.2)


def test_many_long_values_took_all_memory(url: str) -> None:
    """Each within its limit, and the answer beyond any: 1,000 of 50 MB. Nor has the database's own work no bounds."""
    with pytest.raises(InvalidRequest, match="cannot show more than 64 MiB at once; ask for fewer rows"):
        ask(url, "SELECT randomblob(20000000) FROM events", limit=1000, seconds=60)
    columns = ", ".join(["randomblob(60000000)"] * 11)
    with pytest.raises(InvalidRequest, match="it needs more than 512 MiB; ask for less"):
        ask(url, f"SELECT {columns}", limit=10, seconds=60)
    assert ask(url, "SELECT length(randomblob(60000000))", limit=10, seconds=60).rows == [(60_000_000,)]


def test_of_no_database_it_makes_none(tmp_path: Path) -> None:
    """Asking where nothing is recorded leaves nothing behind."""
    with pytest.raises(NoDatabase):
        ask(f"sqlite:///{tmp_path}/events.db", "SELECT 1", limit=1, seconds=1)
    assert list(tmp_path.iterdir()) == []
