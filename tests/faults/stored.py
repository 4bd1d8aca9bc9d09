"""The log's database as a stranger reads it, and copies of it: each is the beginning of what comes after."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.oracle.log import COLUMNS


def ask(home: Path, database: str | None, query: str) -> list[tuple[Any, ...]]:
    """All rows; `database`: where the log is not in the home, the URL of the PostgreSQL database."""
    if database is not None:
        with psycopg.connect(database) as stranger:
            return stranger.execute(query.encode()).fetchall()
    with contextlib.closing(sqlite3.connect(f"file:{home}/events.db?mode=ro", uri=True)) as log:
        return log.execute(query).fetchall()


def is_made(home: Path, database: str | None) -> bool:
    """Whether there are tables."""
    if database is not None:
        return bool(ask(home, database, "SELECT to_regclass('agents') IS NOT NULL")[0][0])
    wanted = "SELECT 1 FROM sqlite_master WHERE name = 'agents'"
    return (home / "events.db").exists() and bool(ask(home, None, wanted))


def copy_database(path: Path, place: Path) -> Path:
    """A consistent copy, named for the last position in it."""
    temporary = place / "copying"
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(temporary)) as copy,
    ):
        source.backup(copy)
        position = copy.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0]
        copy.execute("PRAGMA journal_mode = DELETE")
    return temporary.rename(place / f"{position}.db")


def copy_events(rows: Sequence[tuple[Any, ...]], place: Path) -> Path:
    """The rows of the log in a file of their own, named for the last position."""
    temporary = place / "copying"
    with contextlib.closing(sqlite3.connect(temporary)) as copy, copy:
        copy.execute(f"CREATE TABLE events ({', '.join(COLUMNS)})")
        copy.executemany(f"INSERT INTO events VALUES ({', '.join('?' * len(COLUMNS))})", rows)
    return temporary.rename(place / f"{rows[-1][0] if rows else 0}.db")
