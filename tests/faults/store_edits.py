"""Edits of a log by somebody who may write to it: rows cut, moved, forged, or whole other files put in its place."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from eventstore import chain
from tests.faults.store_damage import Damage, by_sql

BESIDE = ("events.db-wal", "events.db-shm", "events.db-journal")


class Edit(NamedTuple):
    """A damage, and the first bad position that is named; None where there is nothing left to have positions."""

    damage: Damage
    position: int | None


def edits(last: int, columns: str, known: Sequence[int] = ()) -> Iterator[Edit]:
    """Every kind, at the beginning, in the middle and at the end of a log of `last` rows with these columns.

    `known`: the positions of its checkpoints, in order.
    """
    other = columns.replace("position", "position + 1", 1).replace(
        "event_id", "'x' || substr(event_id, 2)", 1
    )
    other = other.replace("version", "version + 1000", 1)
    for at in sorted({1, 2, last // 2, last - 1, last}):
        here = f"WHERE position = {at}"
        delete = f"DELETE FROM events {here};"
        yield _edit(f"row {at} deleted", delete, at)
        yield _edit(
            f"row {at} deleted, the others moved up",
            f"{delete} UPDATE events SET position = position - 1 WHERE position > {at};",
            at,
        )
        yield _edit(f"tail cut off from {at} on", f"DELETE FROM events WHERE position >= {at};", at)
        yield Edit(
            Damage(f"suffix computed anew from {at} on", forged(at)),
            next((one for one in known if one >= at), last),
        )
        yield _edit(
            f"a row put in after {at}",
            f"UPDATE events SET position = position + 1000000 WHERE position > {at};"
            "UPDATE events SET position = position - 999999 WHERE position > 1000000;"
            f"INSERT INTO events SELECT {other} FROM events {here};",
            at + 1,
        )
    for one, two in ((1, last), (2, 3), (last - 1, last)):
        yield _edit(f"rows {one} and {two} swapped", swap(one, two), one)
    yield _edit("all rows deleted", "DELETE FROM events;", 1)


def others(home: Path, older: Path, stranger: Path) -> Iterator[Edit]:
    """Other files in the log's place: the older copy is shorter by some rows, the stranger another home's."""
    with contextlib.closing(sqlite3.connect(older / "events.db")) as database:
        (kept,) = database.execute("SELECT max(position) FROM events").fetchone()
    yield Edit(Damage("an older copy put back", lambda place: _put(place, older, with_wal=False)), kept + 1)
    yield Edit(Damage("another home's database", lambda place: _put(place, stranger, with_wal=False)), None)
    yield Edit(Damage("removed", _clear), None)
    for what, make in {
        "an empty file": lambda path: path.touch(0o600),
        "a directory": lambda path: path.mkdir(0o700),
        "a pipe": lambda path: os.mkfifo(path, 0o600),
        "a dangling link": lambda path: path.symlink_to("/nowhere/at/all"),
        "garbage": lambda path: path.write_bytes(bytes(range(256)) * 64),
    }.items():
        yield Edit(Damage(f"{what} in its place", _replaced(make)), None)
    yield Edit(Damage("a pipe for its index", lambda place: os.mkfifo(place / "events.db-shm", 0o600)), None)


def older_with_wal(older: Path) -> Damage:
    """The database and the WAL of an earlier moment, taken and put back together."""
    return Damage("an older copy with its WAL put back", lambda place: _put(place, older, with_wal=True))


def copy(home: Path, to: Path) -> Path:
    """The files of a home's log as they are now."""
    to.mkdir()
    for name in ("events.db", "events.db-wal"):
        if (home / name).exists():
            shutil.copy(home / name, to)
    return to


def swap(one: int, two: int) -> str:
    """Make two rows change places."""
    return (
        f"UPDATE events SET position = 1000000 WHERE position = {one};"
        f"UPDATE events SET position = {one} WHERE position = {two};"
        f"UPDATE events SET position = {two} WHERE position = 1000000;"
    )


def _edit(what: str, script: str, position: int) -> Edit:
    return Edit(by_sql(what, script), position)


def forged(start: int) -> Callable[[Path], None]:
    """Change a row and compute its hash and those after it anew, by the rules."""

    def do(home: Path) -> None:
        by_sql("", f"UPDATE events SET actor = 'forger' WHERE position = {start};").do(home)
        columns = ", ".join(chain.ORDER)
        with contextlib.closing(sqlite3.connect(home / "events.db", isolation_level=None)) as database:
            database.text_factory = bytes
            found = database.execute("SELECT hash FROM events WHERE position = ?", (start - 1,)).fetchone()
            running = found[0] if found else chain.GENESIS
            query = f"SELECT {columns} FROM events WHERE position >= ? ORDER BY position"
            script = []
            for row in database.execute(query, (start,)).fetchall():
                before, running = running, chain.link(running, chain.leaf(row))
                script.append(
                    f"UPDATE events SET previous_hash = x'{before.hex()}', hash = x'{running.hex()}'"
                    f" WHERE position = {row[0]};"
                )
        by_sql("", "".join(script)).do(home)

    return do


def _put(home: Path, copied: Path, *, with_wal: bool) -> None:
    _clear(home)
    for name in ("events.db", *(BESIDE[:1] if with_wal else ())):
        if (copied / name).exists():
            shutil.copy(copied / name, home)
            (home / name).chmod(0o600)


def _clear(home: Path) -> None:
    for name in ("events.db", *BESIDE):
        (home / name).unlink(missing_ok=True)


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def do(home: Path) -> None:
        _clear(home)
        make(home / "events.db")

    return do
