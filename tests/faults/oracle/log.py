"""The log, read by SQL and verified with an encoder of the oracle's own, after the description of it alone."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from binascii import crc32
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.oracle.report import Undecidable, Violation

NUMBERS = ("position", "version", "schema_version", "epoch", "occurred_at", "recorded_at", "attempt")
TEXTS = ("event_id", "stream", "type", "home", "host", "actor", "correlation_id", "causation_id", "data")
HEAD = re.compile(rb"(outlive-head/1 (\d+) \d+ ([0-9a-f]{64})) ([0-9a-f]{8})")
COLUMNS = (*NUMBERS, *TEXTS, "previous_hash", "hash")
Database = Any  # a connection of sqlite3 or of psycopg: `execute` gives rows and their description


@dataclass(frozen=True)
class Row:
    """One event as the table holds it."""

    position: int
    version: int
    schema_version: int
    epoch: int
    occurred_at: int
    recorded_at: int
    attempt: int | None
    event_id: str
    stream: str
    type: str
    home: str
    host: str
    actor: str
    correlation_id: str
    causation_id: str | None
    data: str
    previous_hash: bytes
    hash: bytes

    @cached_property
    def body(self) -> dict[str, Any]:
        """The event's own fields; empty when they cannot be read."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.data)
            if isinstance(found, dict):
                return found
        return {}

    @property
    def agent(self) -> str | None:
        """The agent's id; None for an event of the home."""
        kind, _, name = self.stream.partition("/")
        return name if kind == "agent" else None

    def computed_hash(self, previous: bytes) -> bytes:
        """The hash that this row must have after the row with the hash `previous`."""
        leaf = b"\x00" + b"".join(_field(getattr(self, name)) for name in COLUMNS[:16])
        return sha256(b"\x01" + previous + sha256(leaf).digest()).digest()


def _field(value: int | str | None) -> bytes:
    if value is None:
        return b"\xff\xff\xff\xff"
    content = value.to_bytes(8, "big") if isinstance(value, int) else value.encode()
    return len(content).to_bytes(4, "big") + content


@contextlib.contextmanager
def reading_at(url: str) -> Iterator[Database]:
    """The same of a PostgreSQL database."""
    try:
        with psycopg.connect(url) as database:
            database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            database.read_only = True
            yield database
    except psycopg.Error as error:
        raise Undecidable(f"cannot read the log at {url}: {error}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Database]:
    """One consistent view of a database. Raises `Undecidable` when it cannot be read."""
    if not path.is_file():
        raise Undecidable(f"cannot read the log {path}: there is no such file")
    with contextlib.closing(
        sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    ) as database:
        try:
            database.execute("BEGIN")
            yield database
        except sqlite3.DatabaseError as error:
            raise Undecidable(f"cannot read the log {path}: {error}") from error


def rows_of(database: Database) -> list[Row]:
    """All rows in order of position."""
    order = "position, rowid" if isinstance(database, sqlite3.Connection) else "position"
    query = f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY {order}"
    return [Row(*row) for row in database.execute(query)]


def read_rows(path: Path) -> list[Row]:
    """All rows of a database. Raises `Undecidable`."""
    with reading(path) as database:
        return rows_of(database)


def check_chain(rows: Sequence[Row]) -> Iterator[Violation]:
    """Dense positions and versions, unique ids, the hash chain."""
    versions: dict[str, int] = {}
    ids: dict[str, int] = {}
    previous, recorded_at = bytes(32), 0
    for expected, row in enumerate(rows, start=1):
        if row.position != expected:
            yield _at(row, "dense positions", f"position {row.position} stands where {expected} belongs")
        if row.version != versions.get(row.stream, 0) + 1:
            yield _at(row, "dense positions", f"version {row.version} of {row.stream} is not the next")
        if row.event_id in ids:
            yield _at(row, "unique ids", f"{row.event_id} is also at position {ids[row.event_id]}")
        if row.previous_hash != previous:
            yield _at(row, "hash chain", "its previous_hash is not the hash of the row before")
        if _cannot_be_hashed(row) or row.computed_hash(row.previous_hash) != row.hash:
            yield _at(row, "hash chain", "its columns do not give its hash")
        if row.recorded_at < recorded_at:
            yield _at(row, "dense positions", "recorded before the row that precedes it")
        versions[row.stream] = row.version
        ids.setdefault(row.event_id, row.position)
        previous, recorded_at = row.hash, row.recorded_at


def check_prefixes(rows: Sequence[Row], earlier: Sequence[tuple[str, Sequence[Row]]]) -> Iterator[Violation]:
    """Each earlier reading is the beginning of the log as it is."""
    for name, before in earlier:
        if len(before) > len(rows):
            yield Violation(
                "stable history", f"{name} had {len(before)} events, {len(rows)} are left", len(rows) + 1
            )
        for old, new in zip(before, rows, strict=False):
            if old != new:
                changed = [column for column in COLUMNS if getattr(old, column) != getattr(new, column)]
                yield _at(new, "stable history", f"other than in {name}: {', '.join(changed)}")
                break


def check_head(rows: Sequence[Row], path: Path) -> Iterator[Violation]:
    """Each whole slot of the file beside the log names a row that is there: it is never ahead of the log."""
    content = path.read_bytes() if path.is_file() else b""
    for text, position, told, crc in HEAD.findall(content):
        if crc32(text) != int(crc, 16):
            continue  # torn, which is why there are two
        number = int(position)
        if number > len(rows):
            evidence = f"the log had come to {number} by the file beside it, and ends at {len(rows)}"
            yield Violation("stable history", evidence, len(rows) + 1)
        elif number and rows[number - 1].hash.hex() != told.decode():
            yield _at(rows[number - 1], "stable history", "another row than the file beside the log names")


def _cannot_be_hashed(row: Row) -> bool:
    return any(isinstance(value := getattr(row, name), int) and value < 0 for name in NUMBERS)


def _at(row: Row, promise: str, evidence: str) -> Violation:
    return Violation(promise, evidence, row.position, row.agent, row.attempt)
