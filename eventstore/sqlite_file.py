"""A SQLite database as a file: its path, whether it is still the same file, its errors in outlive's words, reading it.

Standard library only; a command that reads needs nothing else of SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from eventstore.errors import InvalidRequest, NoDatabase, OutliveError, StoreDamaged, StoreUnavailable
from eventstore.revision import TRIGGERS, replaced_views

BUSY_SECONDS = 5.0  # for writers that are not ours and take no lock file; ours queue before SQLite is asked

_RETRY = "try again when that is mended"
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that one (`fuser FILE` names it) and try again",
    sqlite3.SQLITE_LOCKED: "it is locked; try again",
    sqlite3.SQLITE_FULL: f"the disk is full; {_RETRY}",
    sqlite3.SQLITE_READONLY: f"it is read-only; {_RETRY}",
    sqlite3.SQLITE_IOERR: f"the disk reports an error; {_RETRY}, and run `outlive verify`",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the directory, its permissions and free descriptors",
    sqlite3.SQLITE_PERM: "permission is denied; check its owner and mode",
    sqlite3.SQLITE_INTERRUPT: "the query was interrupted; try again",
    sqlite3.SQLITE_NOMEM: f"there is no memory left; {_RETRY}",
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_MOST_FAULTS = 1000
ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the latter where a message of SQLite's quotes garbage
_MOVED = 1032  # SQLITE_READONLY_DBMOVED, which Python 3.11 does not name
_HALF_WRITTEN = 776  # SQLITE_READONLY_ROLLBACK: there is a journal to be rolled back, and a reader may not


def path_of(url: str) -> Path:
    """The absolute path in `sqlite:///PATH` (four slashes before an absolute one). Raises `InvalidRequest`."""
    prefix = "sqlite:///"
    name = url.removeprefix(prefix)
    if not url.startswith(prefix) or name in ("", ":memory:") or "\0" in name:
        raise InvalidRequest(f"cannot open {url}: no file is named; write sqlite:////absolute/path/events.db")
    return Path(name).absolute()


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at `path`, None if there is none. Never opens it: closing drops SQLite's locks.

    Raises `StoreDamaged` for what is no file: whoever opened a pipe would wait without end.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailable(f"cannot look at {path}: {error.strerror}; check its permissions") from error
    if not stat.S_ISREG(status.st_mode):
        raise StoreDamaged(f"cannot use {path}: it is no file; put the log back, or restore a copy")
    return status.st_dev, status.st_ino


def require_same_file(path: Path, opened: tuple[int, int] | None) -> None:
    """Raise `StoreDamaged` unless the file at `path` is the one that was opened: appends elsewhere would be lost."""
    found = identity(path)
    if found != opened:
        what = "was deleted" if found is None else "was replaced by another file"
        raise StoreDamaged(
            f"cannot use {path}: it {what} while it was open; put it back, or stop and open it again"
        )


def require_same_process(pid: int, path: Path) -> None:
    """Raise `StoreUnavailable` in a process forked after opening: SQLite does not survive a fork."""
    if os.getpid() != pid:
        raise StoreUnavailable(
            f"cannot use {path}: it was opened in process {pid}, before a fork; open it again in this process"
        )


def translate(error: BaseException, path: Path, action: str) -> OutliveError | None:
    """Outlive's error for a driver's, saying what to do; None if it is not the driver's."""
    if not isinstance(error, ERRORS):
        return None
    code: int = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    is_garbled = isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error)
    if primary in _DAMAGE or code == _MOVED or is_garbled:
        advice = "run `outlive verify`, or restore a copy"
        return StoreDamaged(f"cannot {action} {path}: {error}; {advice}", why=str(error))
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return InvalidRequest(f"cannot {action} {path}: {error}; the database refuses the row")
    if code == _HALF_WRITTEN:
        why = "who made it was killed half-way, and a reader may not undo that; `outlive recover` does"
        return StoreUnavailable(f"cannot {action} {path}: {why} ({error})")
    advice = _ADVICE.get(primary, f"{error}; try again, or run `outlive doctor`")
    return StoreUnavailable(f"cannot {action} {path}: {advice} ({error})")


def is_read_only(error: BaseException) -> bool:
    """Whether SQLite opened a file that could not be written just then."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY


def is_busy(error: BaseException) -> bool:
    """Whether somebody else kept the file locked for all the time that was waited."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class SqliteSource:
    """Read-only queries against the file. Safe for many threads: each query is fetched whole under a lock.

    `is_cut`: read what there is of a file that ends too early, which SQLite would refuse as a whole.
    """

    def __init__(self, path: Path, *, texts_as_bytes: bool = False, is_cut: bool = False) -> None:
        self._path = path
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._is_held = False
        self._opened = identity(path)
        if self._opened is None:
            raise NoDatabase(
                f"cannot read {path}: there is no such file; nothing has been recorded there yet"
            )
        self._connection = connect_read_only(path, is_cut=is_cut)
        if texts_as_bytes:
            self._connection.text_factory = bytes

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(self._path)

    def raw(self) -> SqliteSource:
        """Another source that gives texts as the bytes in the file."""
        return SqliteSource(self._path, texts_as_bytes=True)

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows. Raises `StoreUnavailable` or `StoreDamaged`."""
        require_same_process(self._pid, self._path)
        require_same_file(self._path, self._opened)
        with self._lock:
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except ERRORS as error:
                raise translate(error, self._path, "read") or error from error

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """See `Source.stream`. Raises as `fetch`."""
        require_same_process(self._pid, self._path)
        require_same_file(self._path, self._opened)
        try:
            yield from self._connection.execute(sql, parameters)
        except ERRORS as error:
            raise translate(error, self._path, "read") or error from error

    def has_table(self, name: str) -> bool:
        """Whether there is a table of this name."""
        return bool(self.fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))

    def faults(self) -> list[str]:
        """What SQLite's own check finds. Raises `StoreDamaged`."""
        found = [str(row[0]) for row in self.fetch(f"PRAGMA integrity_check({_MOST_FAULTS})")]
        return [line for line in found if line != "ok"]

    def is_guarded(self) -> bool:
        """Whether the triggers are those of the schema."""
        triggers = self.fetch("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
        return sha256(repr(triggers).encode()).hexdigest() == TRIGGERS

    def is_standby(self) -> bool:
        """No: a file follows nobody."""
        return False

    def replaced_views(self) -> list[str]:
        """See `Source.replaced_views`."""
        return replaced_views(dict(self.fetch("SELECT name, sql FROM sqlite_master WHERE type = 'view'")))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Queries inside see one moment of the database. Other threads wait meanwhile."""
        with self._lock:
            if self._is_held:
                yield
                return
            self.fetch("BEGIN")
            try:
                self.fetch("SELECT 1 FROM sqlite_master")
                yield
            finally:
                self._connection.rollback()

    @contextmanager
    def hold(self) -> Iterator[str]:
        """See `Source.hold`."""
        with self._lock:
            # The file stays read-only all the same: that is how it was opened.
            for statement in ("PRAGMA query_only = OFF", "BEGIN", "SELECT 1 FROM sqlite_master"):
                self.fetch(statement)
            self._is_held = True
            yield "main"

    def nothing(self) -> NoDatabase:
        """See `Source.nothing`."""
        return NoDatabase(
            f"cannot read {self.where}: nothing has been recorded there yet; start an agent first"
        )

    def close(self) -> None:
        """Let go of the file."""
        if os.getpid() == self._pid:
            with self._lock:
                self._connection.close()


def finish_creation(path: Path) -> None:
    """Roll back what was left half done when the process that made the database was killed before it used WAL.

    A reader may not do so, and refuses the file.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
    except ERRORS as error:
        raise translate(error, path, "open") or error from error


def connect_read_only(path: Path, *, is_cut: bool = False) -> sqlite3.Connection:
    """A connection that can write nothing. Raises `StoreUnavailable` or `StoreDamaged`."""
    connection = None
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA query_only = ON")
        if is_cut:
            connection.execute("PRAGMA writable_schema = ON")  # then SQLite goes by the size of the file
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()  # the file is opened on first use
    except ERRORS as error:
        if connection is not None:
            connection.close()
        raise translate(error, path, "read") or error from error
    return connection
