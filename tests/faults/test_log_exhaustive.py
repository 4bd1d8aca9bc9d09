"""Everything that can be done to the rows of a log of 1,000 events, each at every position: found at the right one.

The log is made by the real store, in a real file, with a checkpoint every hundred events. What is done is committed,
verified by a reader of its own, and undone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventstore import chain, checkpoints, trust
from eventstore.appending import Batch
from eventstore.chain import Verdict
from eventstore.checkpoints import CheckpointFile
from eventstore.reader import Reader
from eventstore.record import COLUMNS, Head
from eventstore.store import EventStore
from tests.support.histories import new, samples
from tests.support.tally import Tally

ROWS, EVERY = 1000, 100
FAR = 1_000_000
INTEGERS = ("version", "schema_version", "epoch", "occurred_at", "recorded_at", "attempt")
BLOBS = ("previous_hash", "hash")
EXTENT = pytest.mark.parametrize(
    "step",
    [61, pytest.param(1, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])],
    ids=["a part", "all"],
)

Row = tuple[Any, ...]


class Log(NamedTuple):
    """The log, somebody's own connection to it, its rows, and what it is known to be."""

    url: str
    database: sqlite3.Connection
    rows: list[Row]
    known: list[Head]

    def verify(self) -> Verdict:
        """What a verification finds."""
        with closing(Reader.open(self.url)) as reader:
            verdict = reader.verify()
            return trust.contradicted(reader, verdict, self.known) if verdict.is_intact else verdict

    def write(self, rows: list[Row]) -> None:
        """Put these in the place of what is there."""
        marks = ", ".join("?" * len(COLUMNS))
        self.database.execute("BEGIN")
        self.database.execute("DELETE FROM events")
        self.database.executemany(f"INSERT INTO events VALUES ({marks})", rows)
        self.database.execute("COMMIT")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """A log whose triggers somebody has dropped, and who does not wait for the disk."""
    monkeypatch.setattr(checkpoints, "EVERY_EVENTS", EVERY)
    url = f"sqlite:///{tmp_path}/events.db"
    file = CheckpointFile(tmp_path / "checkpoints", home="home", key=None, clock=lambda: 0)
    with EventStore.open(url, home="home", host="host", head=tmp_path / "head", checkpoints=file) as store:
        events = [event for event in samples() for _ in range(5)]
        for first in range(0, ROWS, EVERY):
            wanted = [
                Batch(
                    stream=f"agent/{number % 7}",
                    events=[new(events[number % len(events)])],
                    expected_version=number // 7,
                )
                for number in range(first, first + EVERY)
            ]
            store.append_many(wanted, epoch=None)
        rows = [tuple(row) for row in store.read()]
        known = [*sorted(one.head for one in file.read()), store.head()]
    assert [head.position for head in known[:-1]] == list(range(EVERY, ROWS + 1, EVERY))
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as database:
        for name in ("events_no_update", "events_no_delete", "events_next"):
            database.execute(f"DROP TRIGGER {name}")
        database.execute("PRAGMA synchronous = OFF")
        found = Log(url, database, rows, known)
        assert found.verify() == chain.intact(ROWS, known[-1].hash, checked=ROWS)
        yield found
        assert found.verify().is_intact


def other_value(column: str, value: Any) -> Any:
    """Another value that the column can hold."""
    if column == "event_id":
        return f"{'1' if value[0] == '0' else '0'}{value[1:]}"
    if column in BLOBS:
        return bytes([value[0] ^ 1]) + value[1:]
    if column in INTEGERS:
        return 1 if value is None else value + FAR
    return "x" if value is None else f"{value} "


@EXTENT
def test_an_edit_of_any_column_of_any_row(log: Log, tally: Tally, step: int) -> None:
    """The row is named, and that it was changed; so is what was moved to another place."""
    wrong, count = [], 0
    cells = [(at, column) for at in range(1, ROWS + 1) for column in COLUMNS[1:]]
    for at, column in cells[::step]:
        value = log.rows[at - 1][COLUMNS.index(column)]
        change = f"UPDATE events SET {column} = ? WHERE position = ?"
        log.database.execute(change, (other_value(column, value), at))
        verdict = log.verify()
        log.database.execute(change, (value, at))
        count += 1
        if (verdict.position, verdict.problem) != (at, "row changed"):
            wrong.append(f"{column} of {at}: {verdict}")
    assert not wrong
    tally("13 a column of a row of 1,000 edited", runs=count, noticed=count)


Damage = Callable[[list[Row], int], list[Row]]


def _renumbered(rows: list[Row]) -> list[Row]:
    return [(position, *row[1:]) for position, row in enumerate(rows, 1)]


def _inserted(rows: list[Row], at: int) -> list[Row]:
    row = rows[at - 1]
    another = (at, other_value("event_id", row[1]), "agent/forged", 1, *row[4:])
    return _renumbered([*rows[:at], another, *rows[at:]])


def _swapped(distance: int) -> Damage:
    def damage(rows: list[Row], at: int) -> list[Row]:
        other = min(at + distance, ROWS) - 1
        changed = list(rows)
        changed[at - 1], changed[other] = changed[other], changed[at - 1]
        return _renumbered(changed) if other != at - 1 else rows[: at - 1]

    return damage


def _computed_anew(rows: list[Row], at: int) -> list[Row]:
    """The suffix with other words of the row's actor, all its hashes right."""
    places = [COLUMNS.index(name) for name in chain.ORDER]
    actor = COLUMNS.index("actor")
    changed, running = rows[: at - 1], rows[at - 1][-2]
    for row in rows[at - 1 :]:
        words = (*row[:actor], "forger", *row[actor + 1 :]) if row[0] == at else row
        values = [
            words[place].encode() if isinstance(words[place], str) else words[place] for place in places
        ]
        before, running = running, chain.link(running, chain.leaf(values))
        changed.append((*words[:-2], before, running))
    return changed


DAMAGES: dict[str, tuple[Damage, Callable[[int], int]]] = {
    "deleted": (lambda rows, at: rows[: at - 1] + rows[at:], lambda at: at),
    "deleted, those after it moved up": (
        lambda rows, at: _renumbered(rows[: at - 1] + rows[at:]),
        lambda at: at,
    ),
    "moved far away": (
        lambda rows, at: [(FAR, *row[1:]) if row[0] == at else row for row in rows],
        lambda at: at,
    ),
    "another inserted after it": (_inserted, lambda at: at + 1),
    "swapped with the next": (_swapped(1), lambda at: at),
    "swapped with one far off": (_swapped(333), lambda at: at),
    "the tail cut off from it on, as in an older copy": (lambda rows, at: rows[: at - 1], lambda at: at),
    "the suffix computed anew from it on": (_computed_anew, lambda at: -(-at // EVERY) * EVERY),
}


@EXTENT
@pytest.mark.parametrize("what", DAMAGES)
def test_rows_that_are_not_where_they_were(log: Log, tally: Tally, what: str, step: int) -> None:
    """The first position that is not what it was; for a suffix that was computed anew, its first checkpoint."""
    damage, expected = DAMAGES[what]
    wrong, count = [], 0
    places = sorted({1, 2, EVERY, EVERY + 1, ROWS - 1, ROWS, *range(1, ROWS + 1, step)})
    for at in places:
        log.write(damage(log.rows, at))
        verdict = log.verify()
        count += 1
        if verdict.is_intact or verdict.position != expected(at):
            wrong.append(f"{at} {what}: {verdict}")
    log.write(log.rows)
    assert not wrong
    tally(f"13 a row of 1,000 {what}", runs=count, noticed=count)
