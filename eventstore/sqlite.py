"""The log in a SQLite file: durable (WAL, synchronous=FULL, read back), one writer at a time over all processes.

Writers queue at a lock file before they ask SQLite (see `eventstore/writelock.py`), and every transaction that writes
begins IMMEDIATE: a deferred one that turns into a write fails at once whatever the busy timeout.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Connection, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from eventstore import migrating, revision
from eventstore.backend import Begun
from eventstore.crashpoints import crash_point
from eventstore.errors import NoDatabase, SchemaMismatch, StoreUnavailable
from eventstore.memory import NOTHING, First
from eventstore.reader import Reader
from eventstore.source import schema_version
from eventstore.sqlite_file import (
    BUSY_SECONDS,
    SqliteSource,
    finish_creation,
    identity,
    is_busy,
    is_read_only,
    path_of,
    require_same_file,
    require_same_process,
    translate,
)
from eventstore.statements import Statements
from eventstore.writelock import AGAIN_SECONDS, WriteLock
from eventstore.writing import Writing

WAIT_SECONDS = (
    10.0  # for the lock file; a transaction takes milliseconds, so longer means a stopped or stuck writer
)

_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: with NORMAL, power loss took 385 of 518 acknowledged rows
    "foreign_keys": 1,
    "recursive_triggers": 1,
    "secure_delete": 1,  # what is erased or overwritten leaves no bytes in free pages
}


class SqliteBackend(Writing):
    """One database file, opened on first use. See `eventstore.backend.Backend`."""

    is_far = False

    def __init__(self, url: str, *, wait_seconds: float = WAIT_SECONDS) -> None:
        super().__init__()
        self._path = path_of(url)
        self._pid = os.getpid()
        self._lock = WriteLock(self._path, wait_seconds=wait_seconds)
        self._opened: tuple[int, int] | None = None
        self._connection: Connection | None = None
        self._busy_seconds = BUSY_SECONDS
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        event.listen(self._engine, "begin", _begin_immediate)

    def prepare(self, *, is_upgrade: bool = False, create: bool = True) -> None:
        """Make the file (mode 0600) and its schema if there is none; check the schema, or upgrade an older one."""
        if not create and identity(self._path) is None:
            raise NoDatabase(
                f"cannot open {self._path}: there is no such file; nothing has been recorded there yet"
            )
        self.settle()
        found = self.schema_version()
        if found != revision.HEAD or (is_upgrade and not self._is_guarded()):
            if found is not None:
                self._refuse_or_upgrade(found, is_upgrade)
            with self._lock:
                self._create_or_migrate(is_upgrade)

    def settle(self) -> None:
        """See `Backend.settle`."""
        if os.path.exists(f"{self._path}-journal"):
            with self._lock:
                crash_point("store.before_rollback_of_creation")
                finish_creation(self._path)
                crash_point("store.after_rollback_of_creation")

    def schema_version(self) -> str | None:
        """The revision of the schema, None for no database. Opens nothing but a reader."""
        if identity(self._path) is None:
            return None
        source = SqliteSource(self._path)
        try:
            return schema_version(source)
        finally:
            source.close()

    def _is_guarded(self) -> bool:
        with closing(SqliteSource(self._path)) as source:
            return source.is_guarded() and not source.replaced_views()

    @contextmanager
    def write(
        self,
        *,
        first: First = NOTHING,
        committed: Callable[[], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[Begun]:
        """The write lock and a transaction on the one connection that writes."""
        require_same_process(self._pid, self._path)
        with self._lock if wait_seconds is None else self._lock.within(wait_seconds):
            connection = self._open()
            try:
                transaction = connection.begin()
            except Exception as error:
                self._fail(error, "write to")
            self._be_patient(connection)
            with self._committing(connection, transaction, committed):
                yield Begun(connection, Statements(connection).ask(first.queries))

    def scrub(self) -> bool:
        """Move the WAL into the database and cut it off: old pages are gone. False while a reader needs them."""
        require_same_process(self._pid, self._path)
        with self._lock:
            connection = self._open()
            crash_point("store.before_scrub")
            try:
                # The driver's cursor: SQLAlchemy would begin a transaction, in which there is no checkpoint.
                answer = connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                is_busy = bool(answer.fetchall()[0][0])
            except Exception as error:
                self._fail(error, "scrub")
            crash_point("store.after_scrub")
        return not is_busy

    def reader(self) -> Reader:
        """A new read-only connection."""
        require_same_process(self._pid, self._path)
        return Reader.of(SqliteSource(self._path))

    def close(self) -> None:
        """Close the file, unless this is a process forked after it was opened."""
        if os.getpid() == self._pid:
            # The last one to close moves the WAL into the database; SQLite before 3.51.3 may damage the file when
            # that meets another's checkpoint, and those happen under the lock.
            crash_point("store.before_close")
            with suppress(StoreUnavailable), self._lock:
                self._discard()
            self._discard()
            crash_point("store.after_close")
            self._lock.close()

    def _open(self) -> Connection:
        if self._connection is None:
            before = identity(self._path)
            if self._opened is not None:
                require_same_file(self._path, self._opened)
            try:
                self._connection = self._engine.connect()
            except Exception as error:
                self._fail(error, "open")
            self._opened = before
        require_same_file(self._path, self._opened)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # `rw`, not `rwc`: a file that somebody deleted must not come back empty.
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for name, wanted in _PRAGMAS.items():
                crash_point("store.before_pragma")  # the first one makes a new file a WAL database
                connection.execute(f"PRAGMA {name} = {wanted}")
                crash_point("store.after_pragma")
                found = connection.execute(f"PRAGMA {name}").fetchone()[0]
                if found != wanted:
                    raise StoreUnavailable(
                        f"cannot use {self._path}: SQLite answers {name} = {found} where {wanted} was set,"
                        " so commits would not be durable; use a local file system"
                    )
        except BaseException:
            connection.close()
            raise
        return connection

    def _be_patient(self, connection: Connection) -> None:
        if self._busy_seconds != BUSY_SECONDS:
            self._busy_seconds = BUSY_SECONDS
            connection.connection.cursor().execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")

    def _create_or_migrate(self, is_upgrade: bool) -> None:
        if identity(self._path) is None:
            _create_file(self._path)
        connection = self._open()
        crash_point("store.before_creation")
        try:
            with connection.begin():
                found = schema_version_in(connection)
                if found is not None:
                    self._refuse_or_upgrade(found, is_upgrade)
                if found != revision.HEAD:
                    crash_point("store.before_migration")
                    migrating.migrate(connection)
                    crash_point("store.after_migration")
                elif is_upgrade:
                    migrating.guard(connection)
            crash_point("store.after_creation")
        except Exception as error:
            self._discard()
            self._fail(error, "create the tables of")

    def _refuse_or_upgrade(self, found: str, is_upgrade: bool) -> None:
        try:
            revision.require_head(found, where=str(self._path))
        except SchemaMismatch as error:
            if error.is_newer or not is_upgrade:
                raise

    def _roll_back(self, connection: Connection) -> None:
        crash_point("store.before_rollback")
        try:
            connection.rollback()
            crash_point("store.after_rollback")
        except Exception:  # whatever is wrong with it, a new connection starts clean
            self._discard()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.invalidate()
            with suppress(Exception):
                connection.close()

    def _fail(self, error: Exception, action: str, advice: str = "") -> NoReturn:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if is_read_only(
            cause
        ):  # a connection that was opened so would remain so when the file can be written again
            self._discard()
        if is_busy(cause):
            self._busy_seconds = AGAIN_SECONDS
            self._discard()
        ours = translate(cause, self._path, action)
        if ours is None:
            raise error
        if advice:
            raise type(ours)(f"{ours}; {advice}") from error
        raise ours from error


def schema_version_in(connection: Connection) -> str | None:
    """The revision of the schema, asked in the connection's transaction; None for a database with nothing in it."""
    tables = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").all()
    rows = connection.exec_driver_sql(revision.VERSION_QUERY).all() if tables else []
    return str(rows[0][0]) if rows else None


def _begin_immediate(connection: Connection) -> None:
    # The driver's cursor: SQLAlchemy's way costs 40 µs more, a tenth of an append.
    connection.connection.cursor().execute("BEGIN IMMEDIATE")


def _create_file(path: Path) -> None:
    try:
        crash_point("store.before_database_file")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        crash_point("store.after_database_file")
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            crash_point("store.after_database_mode")
        finally:
            os.close(descriptor)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
            crash_point("store.after_database_directory")
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot create {path}: {error.strerror}; check the directory and its disk"
        ) from error
