"""What can become of the files of a log, and who notices: each `Damage` is done to a real home, and undone."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.errors import OutliveError
from manager import Manager
from manager.home import Home
from manager.verification import verify_home

FILES = ("events.db", "events.db-wal", "head", "checkpoints.jsonl")
TABLES = ("events", "epochs", "projections", "agents", "attempts", "alembic_version")

Content = dict[str, list[tuple[Any, ...]]]


class Damage(NamedTuple):
    """Something done to a home; `do` gets its path."""

    what: str
    do: Callable[[Path], object]


class Seen(NamedTuple):
    """Who noticed a damage, in the words of the errors; `is_changed`: whether anything that can be read is other."""

    is_changed: bool
    by_verify: str | None
    by_start: str | None
    is_start_tried: bool

    @property
    def kind(self) -> str:
        """For a table."""
        if not self.is_changed and not self.by_verify and not self.by_start:
            return "in unused bytes"
        if self.by_start:
            return "noticed at start"
        if self.by_verify:
            return "noticed by verify only" if self.is_start_tried else "noticed by verify"
        return "missed"


class Kept:
    """The files of a home's log as they were when it was looked at; nobody may hold the home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.files = {name: (home / name).read_bytes() for name in FILES if (home / name).exists()}
        self.content = readable(home)
        assert self.content is not None

    def restore(self) -> None:
        """Put everything back, whatever is there now."""
        for name in (*FILES, "events.db-shm", "events.db-journal"):
            path = self.home / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif os.path.lexists(path):
                path.unlink()
        for name, content in self.files.items():
            _write(self.home / name, content)

    def judge(self, damage: Damage, *, is_start_tried: bool = True) -> Seen:
        """Do it to the log as it was, and see who notices: `verify`, and (`is_start_tried`) the next coordinator."""
        self.restore()
        damage.do(self.home)
        content = readable(self.home)
        by_verify = noticed_by_verify(self.home)
        is_tried = is_start_tried or by_verify is None
        by_start = noticed_by_start(self.home) if is_tried else None
        return Seen(content != self.content, by_verify, by_start, is_tried)


def noticed_by_verify(home: Path) -> str | None:
    """What `outlive verify` finds."""
    try:
        found = verify_home(Home(home), f"sqlite:///{home}/events.db")
    except OutliveError as error:
        return f"{type(error).__name__}: {error}"
    if found is None:
        return "there is none"
    return None if found.is_intact else f"{found.verdict.problem} at {found.verdict.position}; {found.faults}"


def noticed_by_start(home: Path) -> str | None:
    """Why no coordinator starts, or what one warns of; None for one that did, and left again."""
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            Manager.open(home, announce=False).close()
    except OutliveError as error:
        return f"{type(error).__name__}: {error}"
    return str(heard[0].message) if heard else None


def readable(home: Path) -> Content | None:
    """Every row of every table, as a copy of the files gives them; None where SQLite cannot read them."""
    with tempfile.TemporaryDirectory(dir=home.parent) as directory:
        for name in FILES[:2]:
            if (home / name).is_file():
                shutil.copy(home / name, directory)
        path = Path(directory, FILES[0])
        if not path.exists():
            return None
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.text_factory = bytes
            try:
                return {
                    table: database.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY rowid").fetchall()
                    for table in TABLES
                }
            except (sqlite3.Error, UnicodeDecodeError):
                return None


def cuts(name: str, size: int, step: int = 512) -> Iterator[Damage]:
    """The file cut at every `step`-th byte."""
    for end in range(0, size, step):
        yield Damage(f"{name} cut at {end}", lambda home, end=end: os.truncate(home / name, end))  # type: ignore[misc]


def flips(name: str, size: int, step: int, first: int = 0) -> Iterator[Damage]:
    """One bit changed in every `step`-th byte."""
    for at in range(first, size, step):
        bit = at * 8 + (at * 7 // 5) % 8  # not always the same bit of a byte
        yield Damage(f"{name} bit {bit}", lambda home, bit=bit: flip(home / name, bit))  # type: ignore[misc]


def flip(path: Path, bit: int) -> None:
    """Change one bit."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def by_sql(what: str, script: str) -> Damage:
    """What somebody with the right to write does, the triggers out of the way and then as before."""

    def do(home: Path) -> None:
        with contextlib.closing(sqlite3.connect(home / "events.db", isolation_level=None)) as database:
            triggers = database.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall()
            for name, _ in triggers:
                database.execute(f"DROP TRIGGER {name}")
            database.executescript(script)
            for _, sql in triggers:
                database.execute(sql)

    return Damage(what, do)


def fold_wal(home: Path) -> None:
    """Move everything into the database file, as the last program that closes it does."""
    with contextlib.closing(sqlite3.connect(home / "events.db")) as database:
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def count(seen: list[Seen]) -> Counter[str]:
    """How many of each kind."""
    return Counter(one.kind for one in seen)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
