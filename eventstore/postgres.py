"""The log in a PostgreSQL database, for homes on many hosts: one writer at a time over all of them.

A table is locked before the transaction looks at anything (a statement of its own under READ COMMITTED), so
positions are dense and in commit order. The server gives up on whoever holds it and says nothing for seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import NoReturn

from psycopg import errors
from sqlalchemy import Connection, NullPool, RootTransaction, create_engine
from sqlalchemy.exc import DBAPIError

from eventstore import migrating, revision
from eventstore.backend import Begun
from eventstore.errors import SchemaMismatch, StoreUnavailable
from eventstore.memory import NOTHING, Disproved, First
from eventstore.postgres_batch import BatchingLink
from eventstore.postgres_door import Door
from eventstore.postgres_errors import ERRORS, WRITES, is_lost, place_of, translate
from eventstore.postgres_session import WHOSE, Session, end
from eventstore.postgres_source import LOCK_SECONDS, PostgresSource, connect, require_same_process, why_not
from eventstore.reader import Reader
from eventstore.source import schema_version
from eventstore.statements import Statements
from eventstore.writing import Writing

AGAIN_SECONDS = (
    1.0  # for one that was waited for in vain before; the server gives the lock to all who wait in turn
)
_SETTINGS = (
    "SET idle_in_transaction_session_timeout = '5s';"  # a writer that was stopped or cut off lets the others go on
    "SET statement_timeout = 0;"
    # A plan made while a table is small would read all of it when it is large; whatever is asked here has its index.
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off;"
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_DISPROOF = (
    errors.DivisionByZero,
    errors.IntegrityError,
)  # the check, or an index or a trigger at the insert
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# Not an advisory lock: that is everybody's who may connect, and to lock a table takes the right to change it.
_LOG_LOCK = "LOCK TABLE epochs IN EXCLUSIVE MODE"
_FILES = "SELECT pg_relation_filenode('payloads'), pg_relation_filenode('runs')"  # others once written anew
_SCHEMA_LOCK = (
    "SELECT pg_advisory_xact_lock(1869968492, hashtext(current_schema()))"  # before there is a table
)


class PostgresBackend(Writing):
    """One database, connected to on first use. See `eventstore.backend.Backend`."""

    is_far = True

    def __init__(self, url: str, *, wait_seconds: float = LOCK_SECONDS) -> None:
        super().__init__()
        self._place = place_of(url).to_write()
        self._pid = os.getpid()
        self._wait_seconds = wait_seconds
        self._threads = threading.Lock()
        self._door = Door(self._make, first_seconds=self._place.connect_seconds + 1.0)
        self._link: BatchingLink | None = None
        self._connection: Connection | None = None
        self._believes = False
        self._engine = create_engine(
            "postgresql+psycopg://", creator=self._connect, poolclass=NullPool, use_native_hstore=False
        )
        self._lock_seconds = wait_seconds
        self._held_since: float | None = (
            None  # monotonic; None: it was had at the last try, or not waited for in full
        )

    def settle(self) -> None:
        """Nothing: the server undoes what was not committed."""

    def prepare(self, *, is_upgrade: bool = False, create: bool = True) -> None:
        """Make the schema in an empty database; check the schema, or upgrade an older one."""
        found = self.schema_version()
        if found is None and not create:
            with closing(PostgresSource(self._place)) as source:
                raise source.nothing()
        if found == revision.HEAD and not (is_upgrade and not self._is_guarded()):
            return
        if found is not None:
            self._refuse_or_upgrade(found, is_upgrade)
        with self._only_thread(self._wait_seconds):
            (connection, _), transaction = self._begin(self._wait_seconds, _SCHEMA_LOCK)
            with self._committing(connection, transaction, None):
                found = _schema_version_in(connection)
                if found is not None:
                    connection.exec_driver_sql(_LOG_LOCK)
                    self._refuse_or_upgrade(found, is_upgrade)
                if found != revision.HEAD:
                    migrating.migrate(connection)
                elif is_upgrade:
                    migrating.guard(connection)

    def schema_version(self) -> str | None:
        """The revision of the schema, None for a database with nothing in it."""
        source = PostgresSource(self._place)
        try:
            return schema_version(source)
        finally:
            source.close()

    def _is_guarded(self) -> bool:
        with closing(PostgresSource(self._place)) as source:
            return source.is_guarded()

    @contextmanager
    def write(
        self,
        *,
        first: First = NOTHING,
        committed: Callable[[], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[Begun]:
        """The write lock and a transaction on the one connection that writes."""
        require_same_process(self._pid, self._place)
        seconds = self._wait_seconds if wait_seconds is None else wait_seconds
        if self._held_since is not None:
            seconds = min(seconds, AGAIN_SECONDS)
        with self._only_thread(seconds):
            self._believes = first.check is not None
            begun, transaction = self._begin(seconds, _LOG_LOCK, first)
            with self._committing(begun.connection, transaction, committed):
                yield begun
            self._held_since = None

    def scrub(self) -> bool:
        """Write texts, and rows made from them, anew without what was erased; False for a role that owns them not."""
        require_same_process(self._pid, self._place)
        with self._only_thread(self._wait_seconds):
            connection = self._open()
            try:
                # The driver's cursor: SQLAlchemy would begin a transaction, in which there is no VACUUM.
                cursor = connection.connection.cursor()
                cursor.execute(_FILES)
                before = cursor.fetchone()
                cursor.execute("VACUUM (FULL) payloads, runs")  # skips, with a warning, what the role may not
                cursor.execute(_FILES)
                after = cursor.fetchone()
            except Exception as error:
                self._fail(error, "scrub")
        return (
            before is not None
            and after is not None
            and all(a != b for a, b in zip(before, after, strict=True))
        )

    def reader(self) -> Reader:
        """A new read-only connection."""
        require_same_process(self._pid, self._place)
        return Reader.of(PostgresSource(self._place))

    def close(self) -> None:
        """Close the connection, unless this is a process forked after it was opened."""
        if os.getpid() == self._pid:
            self._door.close()
            self._discard()

    @contextmanager
    def _only_thread(self, seconds: float) -> Iterator[None]:
        if not self._threads.acquire(timeout=seconds):
            raise StoreUnavailable(
                f"cannot write to the {self._place.name}: another thread has been writing for {seconds:g} s; try again"
            )
        try:
            yield
        finally:
            self._threads.release()

    def _begin(self, seconds: float, lock: str, first: First = NOTHING) -> tuple[Begun, RootTransaction]:
        self._lock_seconds = seconds
        is_new = self._connection is None
        while True:
            try:
                connection = self._open()
                transaction = connection.begin()
                statements = Statements(connection)
                statements.run(_BEGIN)
                if seconds != self._wait_seconds:
                    statements.run(f"SET LOCAL lock_timeout = {_milliseconds(seconds)}")
                statements.run(lock)
                if first.check is not None:
                    statements.run(*first.check)
                    return Begun(connection, first.answers), transaction
                # Each statement sees what was committed before it began, so those after the lock see the log's end.
                return Begun(connection, statements.ask(first.queries)), transaction
            except Exception as error:
                was_lost = self._link is not None and self._link.closed
                self._discard()
                if is_new or not was_lost:
                    self._fail(error, "write to")
                is_new = True  # it had been lost before: nothing was written in this one

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _make(self, lost: Session | None) -> BatchingLink:
        link = connect(
            BatchingLink,
            self._place,
            f"{_SETTINGS}; SET lock_timeout = {_milliseconds(self._wait_seconds)}; {WHOSE}",
            **WRITES,
            prepare_threshold=None,
        )
        try:
            if lost is not None:
                end(lost, link, self._place)
        except BaseException:
            link.close()
            raise
        return link

    def _connect(self) -> BatchingLink:
        self._link = self._door.open()
        return self._link

    def _refuse_or_upgrade(self, found: str, is_upgrade: bool) -> None:
        try:
            revision.require_head(found, where=f"the {self._place.name}")
        except SchemaMismatch as error:
            if error.is_newer or not is_upgrade:
                raise

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.rollback()
            if self._link is not None:
                self._link.rollback()  # for SQLAlchemy, what could not be committed is over
        except Exception:  # whatever is wrong with it, a new connection starts clean
            self._discard()
        if self._link is not None and self._link.closed:
            self._discard()

    def _leave(self) -> None:
        if self._believes and self._connection is not None:
            self._roll_back(self._connection)
        else:
            self._discard()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.invalidate()
            with suppress(Exception):
                connection.close()
        self._link = None

    def _fail(self, error: Exception, action: str, advice: str = "") -> NoReturn:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if self._believes and isinstance(cause, ERRORS) and (is_lost(cause) or isinstance(cause, _DISPROOF)):
            raise Disproved from error
        if isinstance(
            cause, errors.ReadOnlySqlTransaction
        ):  # another server may be the one that writes by now
            self._discard()
        if isinstance(cause, errors.LockNotAvailable):
            now, waited = time.monotonic(), self._lock_seconds
            held = waited if self._held_since is None else round(now - self._held_since)
            if waited >= self._wait_seconds:
                self._held_since = now - waited
            raise StoreUnavailable(
                f"cannot write to the {self._place.name}: its lock has been held for {held:g} s"
                " by another process, which pg_stat_activity shows; end or resume that one, then try again"
            ) from error
        if advice and isinstance(cause, ERRORS) and not is_lost(cause):
            action, advice = "write to", ""  # what is refused with its commit was surely not stored
        ours = translate(cause, self._place, action, advice=why_not(cause, self._place))
        if ours is None:
            raise error
        if advice:
            raise type(ours)(f"{ours}; {advice}") from error
        raise ours from error


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _schema_version_in(connection: Connection) -> str | None:
    [(has_table,)] = connection.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").all()
    rows = connection.exec_driver_sql(revision.VERSION_QUERY).all() if has_table else []
    return str(rows[0][0]) if rows else None
