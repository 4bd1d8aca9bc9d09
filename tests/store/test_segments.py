"""A log that is verified in several processes: the same verdict as by one, whatever is wrong and wherever."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import chain, segments
from eventstore.appending import Batch
from eventstore.record import Head
from eventstore.store import EventStore
from tests.support.histories import new, note

ROWS = 300
SQL = {
    "in the first": "UPDATE events SET actor = 'x' WHERE position = 7",
    "in the last": "DELETE FROM events WHERE position = 250",
    "at an edge": "UPDATE events SET hash = zeroblob(32) WHERE position = 100",
    "in two": "UPDATE events SET actor = 'x' WHERE position IN (120, 220)",
    "unreadable text": "UPDATE events SET data = CAST(x'ff' AS TEXT) WHERE position = 150",
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A log of 300 events in three streams, whose triggers somebody has dropped."""
    path = tmp_path / "events.db"
    with EventStore.open(f"sqlite:///{path}", home="home", host="host") as store:
        store.append_many(
            [
                Batch(stream=stream, events=[new(note())], expected_version=number)
                for number in range(ROWS // 3)
                for stream in ("a/1", "b/1", "c/1")
            ],
            epoch=None,
        )
    _run(path, "DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete")
    return f"sqlite:///{path}"


def _run(path: Path | str, script: str) -> None:
    with closing(sqlite3.connect(str(path).removeprefix("sqlite:///"))) as connection:
        connection.executescript(script)


def _both(url: str, known: Head | None = None) -> chain.Verdict:
    alone = segments.verify(url, known=known, processes=1)
    assert segments.verify(url, known=known, processes=3, least=50) == alone
    return alone


def test_a_whole_log(url: str) -> None:
    """All rows are counted, and the head is compared."""
    verdict = _both(url)
    assert (verdict.is_intact, verdict.checked, verdict.head_position) == (True, ROWS, ROWS)
    assert _both(url, Head(ROWS, verdict.head_hash, 0)).is_intact
    assert _both(url, Head(ROWS + 5, bytes(32), 0)).problem == "tail missing"
    assert _both(url, Head(110, bytes(32), 0)).position == 110


def test_a_program_without_a_guard_is_not_run_again_by_each_helper(url: str) -> None:
    """A script of a few lines at its top level verifies a long log like any other program."""
    script = (
        "from eventstore.reader import Reader\nfrom eventstore import segments\n"
        f"parts = segments._parts({url!r}, Reader.open({url!r}), 1, 3, 50)\n"
        "print([verdict.checked for verdict, _ in parts])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("[100, 100, 100]\n", "")


@pytest.mark.parametrize("case", SQL)
def test_a_damaged_log(url: str, case: str) -> None:
    """The first bad position, and what is wrong with it."""
    _run(url, SQL[case])
    assert not _both(url).is_intact


@pytest.mark.parametrize("column", ["version", "recorded_at"])
def test_a_writer_that_broke_the_order_where_two_segments_meet(url: str, column: str) -> None:
    """Every hash is right and each segment good in itself, and still the rows do not follow each other."""
    value = {"version": "version + 1000", "recorded_at": "1"}[column]
    which = {"version": "stream = 'a/1' AND position > 100", "recorded_at": "position > 100"}[column]
    _run(url, f"UPDATE events SET {column} = {value} WHERE {which}")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.text_factory = bytes
        running = chain.GENESIS
        for row in database.execute(
            f"SELECT {', '.join(chain.ORDER)} FROM events ORDER BY position"
        ).fetchall():
            before, running = running, chain.link(running, chain.leaf(row))
            change = "UPDATE events SET previous_hash = ?, hash = ? WHERE position = ?"
            database.execute(change, (before, running, row[0]))
        database.commit()
    verdict = _both(url)
    assert verdict.problem == "order"
    assert verdict.position in (101, 103)
