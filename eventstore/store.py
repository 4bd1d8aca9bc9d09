"""The log: append with a version and an epoch, read and follow by position, verify.

One transaction writes at a time, over all processes, so positions are dense and in commit order: whoever reads
`position > n` misses nothing. Threads that append at the same time share a commit. An append returns when its events
are durable and the inline projections show them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from eventstore import inline as inlines
from eventstore import lookups, schema, trust
from eventstore.appending import Appending, Batch, Order, Outcome, order_of
from eventstore.chain import Verdict
from eventstore.checkpoints import CheckpointFile
from eventstore.crashpoints import crash_point
from eventstore.errors import StoreDamaged, StoreUnavailable
from eventstore.groupcommit import GroupCommit
from eventstore.inline import Inline
from eventstore.memory import NOTHING, First, Memory
from eventstore.outside import Outside
from eventstore.record import Head, NewEvent, RecordedEvent
from eventstore.statements import Statements

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from eventstore.backend import Backend, Begun
    from eventstore.reader import Reader


def now_microseconds() -> int:
    """The wall clock, microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


class EventStore:
    """One open log, for any number of threads. Not for use across a fork.

    Any method raises `StoreUnavailable` when the database cannot be used now, `StoreDamaged` when it is not as written.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        home: str,
        host: str,
        inline: Sequence[Inline],
        clock: Callable[[], int],
        outside: Outside,
    ) -> None:
        self._backend = backend
        self._outside = outside
        self._home = home
        self._host = host
        self._inline = tuple(inline)
        self._clock = clock
        self._memory = Memory(home, self._inline, is_used=backend.is_far)
        self._group: GroupCommit[Order, list[RecordedEvent]] = GroupCommit(self._commit)
        self._reader: Reader | None = None
        self._reader_lock = threading.Lock()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        home: str,
        host: str,
        inline: Sequence[Inline] = (),
        clock: Callable[[], int] = now_microseconds,
        create: bool = True,
        head: Path | None = None,
        checkpoints: CheckpointFile | None = None,
    ) -> EventStore:
        """The log at `url` (`sqlite:////absolute/path` or `postgresql://…`), made if missing (`create`), up to date.

        `home` and `host` are written into every row; `clock` gives microseconds since the epoch. `head` is the file
        that keeps the head outside the database; the log must hold what it says, its last rows must be a whole chain,
        and the rows of the projections must be what those rows say: else `StoreDamaged`, and nothing is written.
        With `checkpoints` it must be what the newest of them say, too, and more of them are written as it grows.
        Raises `NoDatabase` (missing, and not to be made) and `SchemaMismatch`.
        """
        outside = Outside(head, checkpoints)
        store = cls(
            schema.backend_for(url), home=home, host=host, inline=inline, clock=clock, outside=outside
        )
        try:
            store._open(create=create, is_kept=head is not None)
        except BaseException:
            store._let_go()
            raise
        return store

    def begin_epoch(self, make: Callable[[int], NewEvent], *, stream: str) -> int:
        """Take the home: the next epoch, recorded together with the event that `make` returns for it.

        From then on every append with an older epoch is refused.
        """
        with self._appending() as (connection, appending):
            epoch = appending.epoch = appending.epoch + 1
            written = (
                "INSERT INTO epochs (epoch, home) VALUES (?, ?)"
                if epoch == 1
                else "UPDATE epochs SET epoch = ? WHERE home = ?"
            )
            Statements(connection).run(written, (epoch, self._home))
            batch = Batch(stream=stream, events=(make(epoch),), expected_version=appending.version(stream))
            appending.add(order_of([batch], epoch))
            self._write(connection, appending)
        return epoch

    def append(
        self, stream: str, events: Sequence[NewEvent], *, expected_version: int, epoch: int | None
    ) -> list[RecordedEvent]:
        """`append_many` for one stream."""
        return self.append_many(
            [Batch(stream=stream, events=events, expected_version=expected_version)], epoch=epoch
        )

    def append_many(self, batches: Sequence[Batch], *, epoch: int | None) -> list[RecordedEvent]:
        """Append all the batches or none; the rows in order, once they are durable.

        Events that the log holds already with the same ids and content are answered with their rows, whatever the
        expected version, so any append may be tried again. `epoch` None is for tests and tools: nothing is checked.
        Raises `VersionConflict` (read again, decide again), `EventIdConflict`, `EpochFenced`, `InvalidRequest`, and
        whatever an inline projection refuses the events with. After `StoreUnavailable` try again with the same ids.
        """
        order = order_of(batches, epoch)
        return self._group.submit(order) if order.ids else []

    def prune(
        self, base: Head, event: NewEvent, *, stream: str, forget: Callable[[Connection], None]
    ) -> None:
        """Remove every event up to `base`, whole or not at all, together with the `event` that says so.

        `forget` removes, in the same transaction, what was made from them; what it raises keeps all as it is.
        """
        with self._appending() as (connection, appending):
            forget(connection)
            batch = Batch(stream=stream, events=[event], expected_version=appending.version(stream))
            appending.add(order_of([batch], appending.epoch))
            self._write(connection, appending)
            appending.trim(base)

    def read(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        stream: str | None = None,
        streams: Collection[str] | None = None,
        types: Collection[str] = (),
        limit: int | None = None,
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until` in order of position, in bounded memory. See `Reader.events`."""
        return self._shared_reader().events(
            after=after, until=until, stream=stream, streams=streams, types=types, limit=limit
        )

    def head(self) -> Head:
        """The last position, its hash and its time; position 0 for an empty log."""
        return self._shared_reader().head()

    def follow(
        self, *, after: int = 0, stop: threading.Event | None = None, poll_seconds: float = 0.1
    ) -> Iterator[RecordedEvent]:
        """Every event after `after` as it comes, from any process, until `stop` is set (seen in `poll_seconds`)."""
        while stop is None or not stop.is_set():
            seen = self._backend.wakeups()
            for event in self.read(after=after):
                yield event
                after = event.position
                if stop is not None and stop.is_set():
                    return
            self._backend.wait(seen, poll_seconds)

    def verify(self, *, start: int = 1, until: int | None = None, known: Head | None = None) -> Verdict:
        """Recompute the hash chain. See `Reader.verify`."""
        return self._shared_reader().verify(start=start, until=until, known=known)

    def reader(self) -> Reader:
        """A reader of its own for the caller, who closes it."""
        return self._backend.reader()

    @contextmanager
    def write(self, *, wait_seconds: float | None = None) -> Iterator[Connection]:
        """A write transaction for the tables beside the log, which never touches the log itself.

        `wait_seconds`: give up soon when somebody else writes (`StoreUnavailable`), for what may as well be left out.
        """
        with self._transaction(wait_seconds=wait_seconds) as begun:
            yield begun.connection

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these events are in the log. No append of this store before can add to them, answered or not."""
        with self._transaction(first=First([lookups.known(ids)])) as begun:
            return set(lookups.by_id(begun.answers[0]))

    def checkpoint_when_due(self) -> None:
        """Write a checkpoint if the log has grown and the last one is old; to be called now and then."""
        self._outside.checkpoint_when_due()

    def scrub(self) -> bool:
        """Let nothing of what was erased be left in the database's files; False while a reader needs the past."""
        return self._backend.scrub()

    def close(self) -> None:
        """Let go of the database, with a last checkpoint. The store can't be used afterwards."""
        self._outside.close()
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._backend.close()

    def _shared_reader(self) -> Reader:
        with self._reader_lock:
            if self._reader is None:
                self._reader = self._backend.reader()
            return self._reader

    def _open(self, *, create: bool, is_kept: bool) -> None:
        known = self._outside.read()
        if known is not None and known.position and self._backend.schema_version() is None:
            raise trust.gone(known)
        self._backend.prepare(create=create)
        if is_kept:
            self._outside.require(self._shared_reader(), known)
            trust.require_epoch(self._shared_reader(), self._home)
            self._outside.take_up(known)
        self._catch_up()

    def _commit(self, orders: Sequence[Order]) -> list[Outcome]:
        """Commit the orders in one transaction; one by one if a projection refuses what one of them holds."""
        try:
            return self._commit_together(orders)
        except (StoreUnavailable, StoreDamaged):
            raise
        except Exception as error:
            if len(orders) == 1:
                return [error]
            return [outcome for order in orders for outcome in self._commit([order])]

    def _commit_together(self, orders: Sequence[Order]) -> list[Outcome]:
        if believed := self._memory.believed(orders):
            with self._memory.doubted():
                return self._commit_knowing(orders, believed)
        first = inlines.questions(self._inline, self._home, self._outside.known, orders)
        return self._commit_knowing(orders, first)

    def _commit_knowing(self, orders: Sequence[Order], first: First) -> list[Outcome]:
        with self._appending(first) as (connection, appending):
            outcomes = [appending.outcome(order) for order in orders]
            self._write(connection, appending)
        return outcomes

    @contextmanager
    def _transaction(
        self,
        first: First = NOTHING,
        committed: Callable[[], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[Begun]:
        crash_point("store.before_begin")
        with self._backend.write(first=first, committed=committed, wait_seconds=wait_seconds) as begun:
            crash_point("store.after_begin")
            yield begun
            crash_point("store.before_commit")
        crash_point("store.after_commit")
        self._backend.wake()

    @contextmanager
    def _appending(self, first: First | None = None) -> Iterator[tuple[Connection, Appending]]:
        first = first or inlines.questions(self._inline, self._home, self._outside.known)
        appending: Appending | None = None
        with (
            inlines.forgetting(self._inline),
            self._transaction(first, lambda: self._note_head(appending)) as (connection, answers),
        ):
            found, now = lookups.found(answers), self._clock()
            appending = Appending(Statements(connection), found, home=self._home, host=self._host, now=now)
            trust.require_grown(found, first.known, pruned_to=appending.pruned_to)
            yield connection, appending

    def _note_head(self, appending: Appending | None) -> None:
        if appending is not None and appending.new:
            self._memory.note(appending)
            self._outside.note(appending.head)

    def _write(self, connection: Connection, appending: Appending) -> None:
        if appending.new:
            crash_point("store.before_insert")
            appending.insert()
            crash_point("store.after_insert")
            inlines.apply(connection, self._inline, appending)
            crash_point("store.after_projections")

    def _catch_up(self) -> None:
        reader = self._shared_reader()
        with reader.snapshot():
            lagging = trust.lagging(reader, self._inline)
        if lagging:
            with self._appending() as (connection, appending):
                for projection in lagging:
                    inlines.catch_up(connection, projection, until=appending.tail)
