"""Reading the log, and any table beside it, without SQLAlchemy or pydantic: a listing must start quickly.

Positions are dense and in commit order, so `position > n` misses nothing. Pages are fetched whole, so memory is bounded
and no reader keeps the database's past alive between pages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any

from eventstore import chain
from eventstore.chain import Edges, Verdict
from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.record import COLUMNS, Head, RecordedEvent
from eventstore.revision import require_head
from eventstore.source import Source, schema_version, source_of

PAGE_ROWS = 500  # at 64 KiB an event, a page is 32 MB at the most
_RAW_PAGE_ROWS = 1000  # a statement: its lock and its start cost as much as twenty rows
MAX_STREAMS = 30_000  # SQLite takes 32,766 parameters in a statement

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events"  # noqa: S608 (names of columns, no values)
_SELECT_RAW = f"SELECT {', '.join(chain.ORDER)}, previous_hash, hash FROM events"  # noqa: S608


class Reader:
    """Read-only access to one database; may be shared by threads."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @classmethod
    def open(cls, url: str, *, to_write: bool = False) -> Reader:
        """A reader of the database at `url`; `to_write`: see `source_of`.

        Raises `NoDatabase` where nothing was recorded yet, `SchemaMismatch`, `StoreUnavailable` or `StoreDamaged`.
        """
        return cls.of(source_of(url, to_write=to_write))

    @classmethod
    def of(cls, source: Source) -> Reader:
        """A reader of `source`, whose schema is checked; on an error the source is closed."""
        try:
            found = schema_version(source)
            if found is None:
                raise source.nothing()
            require_head(found, where=source.where)
        except BaseException:
            source.close()
            raise
        return cls(source)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, parameters marked `?`. Raises `StoreUnavailable` or `StoreDamaged`."""
        return self._source.fetch(sql, parameters)

    def snapshot(self) -> AbstractContextManager[None]:
        """Queries inside see one moment of the database; other threads wait meanwhile."""
        return self._source.snapshot()

    def hold(self) -> AbstractContextManager[str]:
        """See `Source.hold`."""
        return self._source.hold()

    def head(self) -> Head:
        """The last position, its hash and its time; position 0 for an empty log."""
        rows = self.rows("SELECT position, hash, recorded_at FROM events ORDER BY position DESC LIMIT 1")
        return Head(*rows[0]) if rows else chain.EMPTY

    def position_before(self, instant: int) -> int:
        """The last position that was recorded before `instant`: a search by halves, for times never run backwards."""
        low, high = 0, self.head().position
        while low < high:
            middle = (low + high + 1) // 2
            found = next(self.events(after=middle - 1, limit=1))
            low, high = (middle, high) if found.recorded_at < instant else (low, middle - 1)
        return low

    def head_at(self, position: int) -> Head:
        """What the head was when the log had come to `position`. Raises `InvalidRequest` where it has not."""
        base = self.base()
        if position == base.position:
            return base
        rows = self.rows("SELECT position, hash, recorded_at FROM events WHERE position = ?", (position,))
        if not rows:
            raise InvalidRequest(f"cannot look at position {position}: the log does not have it")
        return Head(*rows[0])

    def base(self) -> Head:
        """The last row that was pruned, which the first one follows; position 0 where nothing was."""
        rows = self.rows("SELECT position, hash, recorded_at FROM pruned ORDER BY position DESC LIMIT 1")
        return Head(*rows[0]) if rows else chain.EMPTY

    def events(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        stream: str | None = None,
        streams: Collection[str] | None = None,
        types: Collection[str] = (),
        limit: int | None = None,
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until` in order of position, at most `limit`, filtered by stream and type.

        `streams=()` gives none; `types=()` means all. Raises `InvalidRequest` for more than `MAX_STREAMS` streams.
        """
        where, parameters = _conditions(until, stream, streams, types)
        while limit is None or limit > 0:
            size = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit)
            page = self.rows(
                f"{_SELECT} WHERE position > ?{where} ORDER BY position LIMIT ?", (after, *parameters, size)
            )
            for row in page:
                yield RecordedEvent._make(row)
            if len(page) < size:
                return
            after = page[-1][0]
            limit = None if limit is None else limit - size

    def verify(
        self, *, start: int = 1, until: int | None = None, last: int | None = None, known: Head | None = None
    ) -> Verdict:
        """Recompute the hash chain from `start` (whose predecessor's hash is trusted) up to `until` or the head.

        `last`: only so many rows before the head. `known`: what the log was, which it must still hold. Raises
        `InvalidRequest` if there is no row before `start`.
        """
        if last is not None:
            start = _start_of_last(self._source, last)
        verdict, _ = self.walk(start=start, until=until, is_gap_missing=last is not None)
        return verdict if known is None or not verdict.is_intact else self.held_against(verdict, known)

    def walk(
        self, *, start: int, until: int | None = None, is_gap_missing: bool = False
    ) -> tuple[Verdict, Edges]:
        """As `verify`, with what these rows have in common with those around them.

        `is_gap_missing`: where there is no row before `start`, it is missing, and asking was no mistake.
        """
        base = self.base()
        start = max(start, base.position + 1)
        with closing(self._source.raw()) as raw:
            previous = base.hash if start == base.position + 1 else _hash_at(raw, start - 1)
            if previous is None:
                if not is_gap_missing:
                    raise InvalidRequest(f"cannot verify from position {start}: the log ends before it")
                return chain.missing(start - 1), Edges({}, {}, 0, 0)
            rows = RawRows(raw, start, until)
            verdict, edges = chain.walk(rows, start=start, previous_hash=previous)
            if rows.failure is not None and verdict.is_intact:
                verdict = chain.unreadable(verdict, rows.failure.why or str(rows.failure))
            return verdict, edges

    def held_against(self, verdict: Verdict, known: Head) -> Verdict:
        """`verdict`, unless the log is not what it was known to be; of what was pruned before that nothing is known."""
        base = self.base()
        if known.position < base.position:
            return verdict
        found = base.hash if known.position == base.position else _hash_at(self._source, known.position)
        return chain.compare(verdict, known, found)

    def faults(self) -> list[str]:
        """What the database finds wrong with its own tables and indexes, a line each. Reads all of it."""
        try:
            return self._source.faults()
        except StoreDamaged as error:
            return [f"{error.why or error}; restore a copy"]

    def is_guarded(self) -> bool:
        """Whether the triggers that keep the log from being changed are there, unchanged, and no others."""
        return self._source.is_guarded()

    def is_standby(self) -> bool:
        """Whether the database follows another one, and may be behind it."""
        return self._source.is_standby()

    def replaced_views(self) -> list[str]:
        """Names of the views for reports that are not as the schema has them; in PostgreSQL that cannot be told."""
        return self._source.replaced_views()

    def compare(self, known: Head) -> Verdict:
        """Whether the log still holds what it was known to be; nothing else is computed."""
        head = self.head()
        return self.held_against(chain.intact(head.position, head.hash), known)

    def close(self) -> None:
        """Let go of the database."""
        self._source.close()


def _conditions(
    until: int | None, stream: str | None, streams: Collection[str] | None, types: Collection[str]
) -> tuple[str, list[object]]:
    where, parameters = "", list[object]()
    if until is not None:
        where, parameters = " AND position <= ?", [until]
    if stream is not None:
        where, parameters = f"{where} AND stream = ?", [*parameters, stream]
    if streams is not None:
        if len(streams) > MAX_STREAMS:
            raise InvalidRequest(
                f"cannot read {len(streams)} streams at once: {MAX_STREAMS} are allowed; read all"
            )
        where = f"{where} AND stream IN ({', '.join('?' * len(streams)) or 'NULL'})"
        parameters = [*parameters, *streams]
    if types:
        where = f"{where} AND type IN ({', '.join('?' * len(types))})"
        parameters = [*parameters, *types]
    return where, parameters


def _start_of_last(raw: Source, rows: int) -> int:
    (found,) = raw.fetch(
        "SELECT min(position) FROM (SELECT position FROM events ORDER BY position DESC LIMIT ?) newest",
        (rows,),
    )
    return max(1, found[0] or 1)


def _hash_at(source: Source, position: int) -> bytes | None:
    found = source.fetch("SELECT hash FROM events WHERE position = ?", (position,))
    return found[0][0] if found else None


class RawRows:
    """Rows as `chain.verify` takes them, up to the first that the database cannot read, which is the `failure`."""

    def __init__(self, raw: Source, start: int, until: int | None) -> None:
        self._raw = raw
        self._after = start - 1
        self._where, self._parameters = (
            ("", tuple[int, ...]()) if until is None else (" AND position <= ?", (until,))
        )
        self.failure: StoreDamaged | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        size = _RAW_PAGE_ROWS
        while True:
            row = None
            try:
                for row in self._page(size):
                    yield row
            except StoreDamaged as error:
                if size == 1:
                    self.failure = error
                    return
                size = 1  # one by one, to the bad one
            else:
                if row is None:
                    return
            if row is not None:
                self._after = row[0]

    def _page(self, size: int) -> Iterator[tuple[Any, ...]]:
        return self._raw.stream(
            f"{_SELECT_RAW} WHERE position > ?{self._where} ORDER BY position LIMIT {size}",
            (self._after, *self._parameters),
        )
