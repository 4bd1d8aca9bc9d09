"""Forging the rows of a log by somebody who may do anything to its database, in SQLite or in PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from eventstore import chain
from eventstore.record import COLUMNS

FAR = 1_000_000
INTEGERS = ("version", "schema_version", "epoch", "occurred_at", "recorded_at", "attempt")
BLOBS = ("previous_hash", "hash")
NAMES = ", ".join(COLUMNS)

Row = tuple[Any, ...]


class Forger(NamedTuple):
    """`put` sets (column, position, value); `write` puts rows in the place of all that are there."""

    put: Callable[[str, int, Any], None]
    write: Callable[[Sequence[Row]], None]


@contextmanager
def forging(url: str) -> Iterator[Forger]:
    """A connection of its own, the triggers out of the way; it does not wait for the disk."""
    with _forging_sqlite(url) if url.startswith("sqlite:") else _forging_postgres(url) as forger:
        yield forger


@contextmanager
def _forging_sqlite(url: str) -> Iterator[Forger]:
    path = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:

        def put(column: str, at: int, value: Any) -> None:
            database.execute(f"UPDATE events SET {column} = ? WHERE position = ?", (value, at))

        def write(rows: Sequence[Row]) -> None:
            marks = ", ".join("?" * len(COLUMNS))
            database.execute("BEGIN")
            database.execute("DELETE FROM events")
            database.executemany(f"INSERT INTO events VALUES ({marks})", rows)
            database.execute("COMMIT")

        for name in ("events_no_update", "events_no_delete", "events_next"):
            database.execute(f"DROP TRIGGER {name}")
        database.execute("PRAGMA synchronous = OFF")
        yield Forger(put, write)


@contextmanager
def _forging_postgres(url: str) -> Iterator[Forger]:
    with psycopg.connect(url, autocommit=True) as database:

        def put(column: str, at: int, value: Any) -> None:
            database.execute(f"UPDATE events SET {column} = %s WHERE position = %s".encode(), (value, at))

        def write(rows: Sequence[Row]) -> None:
            with database.transaction(), database.cursor() as cursor:
                cursor.execute("TRUNCATE events")
                with cursor.copy(f"COPY events ({NAMES}) FROM STDIN".encode()) as copy:
                    for row in rows:
                        copy.write_row(row)

        # As a superuser may: the triggers stay, and nothing is to be seen of it.
        database.execute("SET session_replication_role = replica")
        yield Forger(put, write)


def other_value(column: str, value: Any) -> Any:
    """Another value that the column can hold."""
    if column == "event_id":
        return f"{'1' if value[0] == '0' else '0'}{value[1:]}"
    if column in BLOBS:
        return bytes([value[0] ^ 1]) + value[1:]
    if column in INTEGERS:
        return 1 if value is None else value + FAR
    return "x" if value is None else f"{value} "


Damage = Callable[[list[Row], int], list[Row]]


def _renumbered(rows: list[Row]) -> list[Row]:
    return [(position, *row[1:]) for position, row in enumerate(rows, 1)]


def _inserted(rows: list[Row], at: int) -> list[Row]:
    row = rows[at - 1]
    another = (at, other_value("event_id", row[1]), "agent/forged", 1, *row[4:])
    return _renumbered([*rows[:at], another, *rows[at:]])


def _swapped(distance: int) -> Damage:
    def damage(rows: list[Row], at: int) -> list[Row]:
        other = min(at + distance, len(rows)) - 1
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


# What is done at a position, and where it is found, if the log is known to have had its last row at so many positions.
DAMAGES: dict[str, tuple[Damage, Callable[[int, Sequence[int]], int]]] = {
    "deleted": (lambda rows, at: rows[: at - 1] + rows[at:], lambda at, _: at),
    "deleted, those after it moved up": (
        lambda rows, at: _renumbered(rows[: at - 1] + rows[at:]),
        lambda at, _: at,
    ),
    "moved far away": (
        lambda rows, at: [(FAR, *row[1:]) if row[0] == at else row for row in rows],
        lambda at, _: at,
    ),
    "another inserted after it": (_inserted, lambda at, _: at + 1),
    "swapped with the next": (_swapped(1), lambda at, _: at),
    "swapped with one far off": (_swapped(333), lambda at, _: at),
    "the tail cut off from it on, as in an older copy": (lambda rows, at: rows[: at - 1], lambda at, _: at),
    "the suffix computed anew from it on": (
        _computed_anew,
        lambda at, known: min(position for position in known if position >= at),
    ),
}
