"""A PostgreSQL database: connecting, and reading it.

Loads no SQLAlchemy; a command that reads needs nothing else of PostgreSQL.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.types.numeric import NumericBinaryLoader

from eventstore import postgres_rights
from eventstore.errors import NoDatabase, OutliveError, StoreUnavailable
from eventstore.postgres_errors import ERRORS, Place, is_lost, translate
from eventstore.postgres_refusal import advice
from eventstore.revision import POSTGRES_TRIGGERS
from eventstore.statements import marked

if TYPE_CHECKING:
    from psycopg.abc import RV, PQGen

ANSWER_SECONDS = 8.0  # for one answer to a writer: it waits for the lock of another one for less
READ_SECONDS = 300.0  # for the answer to a query
LOCK_SECONDS = 6.0  # for a lock: that of the writer before, or of a table; a transaction takes milliseconds
LOCK_MILLISECONDS = int(LOCK_SECONDS * 1000)
_ONE = Decimal(1)
_TRIGGERS = """
    SELECT c.relname, t.tgname, t.tgtype, t.tgenabled, replace(p.prosrc, quote_ident(n.nspname) || '.', '')
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE n.nspname = current_schema() AND NOT t.tgisinternal ORDER BY 1, 2"""
_GENERATED = """
    SELECT 1 FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass('events') AND a.attname = 'data_json' AND a.attgenerated = 's'
        AND pg_get_expr(d.adbin, d.adrelid) = '(data)::jsonb'"""

_LOGS = """
    SELECT current_schema()::text, array(
        SELECT n.nspname::text FROM pg_namespace n JOIN pg_class e ON e.relnamespace = n.oid
            JOIN pg_class v ON v.relnamespace = n.oid JOIN pg_class o ON o.relnamespace = n.oid
        WHERE e.relname = 'events' AND v.relname = 'alembic_version' AND o.relname = 'epochs' ORDER BY 1)"""


class Link(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up on an answer: a server may be stopped, and its kernel answers for it all the same."""

    patience = ANSWER_SECONDS
    told: tuple[Any, ...] = ()  # the last row that its settings gave

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's, for `patience` seconds at the most."""
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


Connected = TypeVar("Connected", bound=Link)


class _Number(Loader):
    """What sums and averages are: as SQLite gives them, whole or not."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return float(text) if b"." in text or b"N" in text else int(text)


class _BinaryNumber(NumericBinaryLoader):
    """The same in binary."""

    def load(self, data: Any) -> int | float:  # type: ignore[override]
        number = super().load(data)
        return int(number) if number.is_finite() and number.same_quantum(_ONE) else float(number)


class _Bytes(Loader):
    """A text as it is stored."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


class _BinaryBytes(_Bytes):
    """The same in binary."""

    format = Format.BINARY


def connect(kind: type[Connected], place: Place, settings: str, **parameters: object) -> Connected:
    """A connection with its `settings` (statements) made. Raises `StoreUnavailable`."""
    try:
        link = kind.connect(**{**place.parameters, **parameters}, autocommit=True, client_encoding="utf8")
        try:
            encoding = link.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise StoreUnavailable(
                    f"cannot use the {place.name}: its encoding is {encoding}; create it with ENCODING 'UTF8'"
                )
            link.adapters.register_loader("numeric", _Number)
            link.adapters.register_loader("numeric", _BinaryNumber)
            answer = link.execute(settings.encode())
            for one in answer.results():
                if one.description:
                    link.told = one.fetchone() or link.told
        except BaseException:
            link.close()
            raise
    except ERRORS as error:
        raise translate(error, place, "connect to", advice=advice(error, place)) or error from error
    return link


class PostgresSource:
    """Read-only queries. Safe for many threads: each query is fetched whole under a lock.

    A connection that was lost is made anew, unless a snapshot was lost with it.
    """

    def __init__(self, place: Place, *, texts_as_bytes: bool = False) -> None:
        self._place = place
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._texts_as_bytes = texts_as_bytes
        self._is_held = self._is_in_snapshot = False
        self._link = self._connect()

    @property
    def where(self) -> str:
        """The database, for messages."""
        return f"the {self._place.name}"

    def raw(self) -> PostgresSource:
        """Another source that gives texts as the bytes in the database."""
        return PostgresSource(self._place, texts_as_bytes=True)

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows. Raises `StoreUnavailable` or `StoreDamaged`."""
        require_same_process(self._pid, self._place)
        with self._lock:
            try:
                try:
                    return self._fetch(sql, parameters)
                except ERRORS:
                    if not self._link.closed or self._is_held or self._is_in_snapshot:
                        raise
                self._link = self._connect()
                return self._fetch(sql, parameters)
            except ERRORS as error:
                may = why_not(error, self._place)
                raise translate(error, self._place, "read", advice=may) or error from error

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """See `Source.stream`; they are fetched whole all the same."""
        return iter(self.fetch(sql, parameters))

    def has_table(self, name: str) -> bool:
        """Whether there is a table of this name."""
        return bool(self.fetch("SELECT to_regclass(?) IS NOT NULL", (name,))[0][0])

    def faults(self) -> list[str]:
        """Whether the column that is not hashed is made from one that is; PostgreSQL has no check of its own."""
        if self.fetch(_GENERATED):
            return []
        return ["data_json is no longer made from data: whoever reads it may read something else"]

    def is_guarded(self) -> bool:
        """Whether the triggers are those of the schema."""
        triggers = self.fetch(_TRIGGERS)
        return sha256(repr(triggers).encode()).hexdigest() == POSTGRES_TRIGGERS

    def is_standby(self) -> bool:
        """Whether the server follows another one."""
        return bool(self.fetch("SELECT pg_is_in_recovery()")[0][0])

    def lacks(self) -> str:
        """What the role lacks that was refused something, and what to do."""
        [row] = self.fetch(postgres_rights.QUERY)
        return postgres_rights.advice(postgres_rights.Rights(*row))

    def replaced_views(self) -> list[str]:
        """None: PostgreSQL gives back a view in words of its own, and only the owner of the tables can replace one."""
        return []

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Queries inside see one moment of the database. Other threads wait meanwhile."""
        with self._lock:
            if self._is_held:
                yield
                return
            self.fetch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")
            self._is_in_snapshot = True
            try:
                yield
            finally:
                self._is_in_snapshot = False
                with suppress(*ERRORS):
                    self._link.rollback()

    @contextmanager
    def hold(self) -> Iterator[str]:
        """See `Source.hold`."""
        with self._lock:
            if self.is_standby():
                raise StoreUnavailable(
                    f"cannot show the past from the {self._place.name}: it is a standby, where no temporary tables can"
                    " be made; name the server that takes writes"
                )
            self._link.prepare_threshold = None  # what was prepared would not see the views
            self.fetch("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; SELECT 1")
            self._is_held = True
            yield str(self.fetch("SELECT quote_ident(current_schema())")[0][0])
            self.fetch("SET TRANSACTION READ ONLY")

    def nothing(self) -> NoDatabase:
        """See `Source.nothing`. A log in another schema of the database is the one that was meant."""
        [(here, logs)] = self.fetch(_LOGS)
        there = f"there is none in its schema {here}"
        if here is None:
            there = "the role may use no schema of its search_path, or none exists"
        if here is None or logs:
            advice = "mend the URL's `options`, or create the schema"
            if logs:
                advice = f"name schema {' or '.join(logs)}, which has one: ?options=-csearch_path%3D{logs[0]}"
            return NoDatabase(
                f"cannot find the log in the {self._place.name}: {there}; {advice}", is_misnamed=True
            )
        notice = (
            f"there is no log in schema {here} of the {self._place.name} yet; if there should be one, mend the database"
            " or the search_path in the URL, else `outlive db upgrade` or the first agent makes it"
        )
        return NoDatabase(f"cannot read the log: {notice}", notice=notice)

    def close(self) -> None:
        """Let go of the connection."""
        if os.getpid() == self._pid:
            with self._lock:
                self._link.close()

    def _connect(self) -> Link:
        link = connect(
            Link,
            self._place,
            f"SET default_transaction_read_only = on; SET lock_timeout = {LOCK_MILLISECONDS}",
        )
        link.patience = READ_SECONDS
        if self._texts_as_bytes:
            link.adapters.register_loader("text", _Bytes)
            link.adapters.register_loader("text", _BinaryBytes)
        return link

    def _fetch(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            if parameters:  # in binary: hashes as texts are twice as long
                cursor = self._link.execute(marked(sql).encode(), parameters, binary=True)
            else:
                cursor = self._link.execute(sql.encode())
            return [] if cursor.description is None else cursor.fetchall()
        except ERRORS as error:
            if is_lost(error):
                self._link.close()
            raise


def why_not(error: BaseException, place: Place) -> str | None:
    """What to do where the role may not; None for any other error, and where that cannot be asked."""
    if isinstance(error, errors.InsufficientPrivilege):
        with suppress(OutliveError), closing(PostgresSource(place)) as source:
            return source.lacks()
    return None


def require_same_process(pid: int, place: Place) -> None:
    """Raise `StoreUnavailable` in a process forked after connecting: two would talk on one connection."""
    if os.getpid() != pid:
        raise StoreUnavailable(
            f"cannot use the {place.name}: it was opened in process {pid}, before a fork; open it again in this process"
        )
