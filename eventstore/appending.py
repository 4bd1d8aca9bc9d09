"""What happens inside one append transaction, the same on every database.

For each order: events whose ids the log has already, with the same content, are answered with the rows that are there
(so a retry after an unclear commit is safe); then the coordinator's epoch; then the expected version. What passes gets
the next positions and the next hashes. The tail is read in the transaction: other processes append too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eventstore import chain, lookups, payloads
from eventstore.codec import encode
from eventstore.crashpoints import crash_point
from eventstore.errors import EpochFenced, EventIdConflict, InvalidRequest, StoreDamaged, VersionConflict
from eventstore.events import Event
from eventstore.home_events import PayloadsErased
from eventstore.lookups import Found
from eventstore.payloads import Payload
from eventstore.record import COLUMNS, Head, NewEvent, RecordedEvent
from eventstore.statements import Query, Statements

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_INTEGER = 2**63 - 1
Outcome = list[RecordedEvent] | Exception

_INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608


class Draft(NamedTuple):
    """An event as it will be stored, checked and encoded before the lock is taken. Only `draft` makes one."""

    event_id: str
    stream: str
    type: str
    schema_version: int
    attempt: int | None
    occurred_at: int
    actor: str
    correlation_id: str
    causation_id: str | None
    data: str
    event: Event
    payload: Payload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events for one stream, drafted for it or not. `expected_version` is its version now; 0: there is none yet."""

    stream: str
    events: Sequence[NewEvent | Draft]
    expected_version: int


class Order(NamedTuple):
    """One all-or-nothing append: (stream, expected version, drafts) for each batch. `epoch` None: unchecked."""

    batches: tuple[tuple[str, int, tuple[Draft, ...]], ...]
    ids: tuple[str, ...]
    epoch: int | None


def order_of(batches: Sequence[Batch], epoch: int | None) -> Order:
    """Check and encode. Raises `InvalidRequest` for what the log could not keep or give back."""
    drafted = tuple(
        (
            batch.stream,
            batch.expected_version,
            tuple(new if isinstance(new, Draft) else draft(batch.stream, new) for new in batch.events),
        )
        for batch in batches
    )
    ids = tuple(draft.event_id for _, _, drafts in drafted for draft in drafts)
    if len(set(ids)) != len(ids):
        raise InvalidRequest("cannot append: the same event id is given twice; make an id for each event")
    return Order(drafted, ids, epoch)


def questions(home: str, before: int, orders: Sequence[Order]) -> list[Query]:
    """What has to be known of the log before these are appended, which was known to end at position `before`."""
    return lookups.look(
        home,
        before,
        (event_id for order in orders for event_id in order.ids),
        (stream for order in orders for stream, _, _ in order.batches),
    )


class Appending:
    """The orders of one transaction. `new` are the rows that `insert` will write, in order."""

    def __init__(self, statements: Statements, found: Found, *, home: str, host: str, now: int) -> None:
        """`found`: what was asked by `questions` for all orders that are to come, and what they were answered."""
        self._statements = statements
        self._home = home
        self._host = host
        self.found = found
        self.tail = found.tail.position
        self._hash = found.tail.hash
        self._recorded_at = max(now, found.tail.recorded_at)
        self.epoch = found.epoch
        self._by_id = found.known
        self._versions = found.versions
        self.new: list[RecordedEvent] = []
        self._payloads: list[tuple[object, ...]] = []

    def outcome(self, order: Order) -> Outcome:
        """What `add` gives or raises."""
        try:
            return self.add(order)
        except (VersionConflict, EventIdConflict, EpochFenced) as refusal:
            return refusal

    def add(self, order: Order) -> list[RecordedEvent]:
        """Rows of `order`: those the log had, or new ones. Raises `EventIdConflict`, `EpochFenced`, `VersionConflict`.

        After a refusal nothing of the order is in `new`.
        """
        if answered := self._answer(order):
            return answered
        self._check_epoch(order.epoch)
        versions: dict[str, int] = {}
        for stream, expected, drafts in order.batches:
            actual = versions[stream] if stream in versions else self.version(stream)
            if actual != expected:
                raise VersionConflict(stream=stream, expected=expected, actual=actual)
            versions[stream] = actual + len(drafts)
        return [self._record(draft) for _, _, drafts in order.batches for draft in drafts]

    @property
    def head(self) -> Head:
        """The head of the log with `new` at its end."""
        return Head(self.tail + len(self.new), self._hash, self._recorded_at)

    def insert(self) -> None:
        """Write `new` with the texts that it names, and erase those that it says are erased."""
        self._statements.run_many(_INSERT, self.new)
        if self._payloads:
            self._statements.run_many(payloads.INSERT, self._payloads)
        for row in self.new:
            if row.type == PayloadsErased.TYPE and isinstance(row.event, PayloadsErased):
                erased = [(row.recorded_at, row.actor, digest) for digest in row.event.digests]
                self._statements.run_many(payloads.ERASE, erased)

    def trim(self, base: Head) -> None:
        """Delete every row up to `base`, which the triggers allow once that is on record."""
        crash_point("tool.before_prune")
        self._statements.run("INSERT INTO pruned (position, hash, recorded_at) VALUES (?, ?, ?)", base)
        self._statements.run("DELETE FROM events WHERE position <= ?", (base.position,))
        crash_point("tool.after_prune")

    def pruned_to(self) -> int:
        """The last position that was pruned; 0 where nothing was."""
        return int(self._statements.rows("SELECT coalesce(max(position), 0) FROM pruned")[0][0])

    def version(self, stream: str) -> int:
        """The stream's version, 0 for none, with what this transaction has added."""
        if stream not in self._versions:
            found = self._statements.rows("SELECT max(version) FROM events WHERE stream = ?", (stream,))
            self._versions[stream] = found[0][0] or 0
        return self._versions[stream]

    def _answer(self, order: Order) -> list[RecordedEvent]:
        known = {event_id: self._by_id[event_id] for event_id in order.ids if event_id in self._by_id}
        if not known:
            return []
        answer: list[RecordedEvent] = []
        for _, _, drafts in order.batches:
            for draft in drafts:
                row = known.get(draft.event_id)
                # An append is whole or absent: knowing one of its events and not another means it is not a retry.
                if row is None:
                    raise EventIdConflict(event_id=next(iter(known)))
                if _content(row) != _content(draft) or (answer and row.position <= answer[-1].position):
                    raise EventIdConflict(event_id=draft.event_id)
                answer.append(row)
        return answer

    def _check_epoch(self, epoch: int | None) -> None:
        if epoch is None or epoch == self.epoch:
            return
        if epoch < self.epoch:
            raise EpochFenced(epoch=epoch, current=self.epoch)
        raise StoreDamaged(
            f"cannot append with epoch {epoch}: the database has only seen {self.epoch}, so it is an older copy;"
            " put the newer one back"
        )

    def _record(self, draft: Draft) -> RecordedEvent:
        position = self.tail + len(self.new) + 1
        version = self.version(draft.stream) + 1
        leaf = chain.leaf(
            (
                position,
                version,
                draft.schema_version,
                self.epoch,
                draft.occurred_at,
                self._recorded_at,
                draft.attempt,
                draft.event_id.encode(),
                draft.stream.encode(),
                draft.type.encode(),
                self._home.encode(),
                self._host.encode(),
                draft.actor.encode(),
                draft.correlation_id.encode(),
                None if draft.causation_id is None else draft.causation_id.encode(),
                draft.data.encode(),
            )
        )
        previous, self._hash = self._hash, chain.link(self._hash, leaf)
        row = RecordedEvent(
            position=position,
            event_id=draft.event_id,
            stream=draft.stream,
            version=version,
            type=draft.type,
            schema_version=draft.schema_version,
            attempt=draft.attempt,
            home=self._home,
            host=self._host,
            epoch=self.epoch,
            occurred_at=draft.occurred_at,
            recorded_at=self._recorded_at,
            actor=draft.actor,
            correlation_id=draft.correlation_id,
            causation_id=draft.causation_id,
            data=draft.data,
            previous_hash=previous,
            hash=self._hash,
        )
        vars(row)["event"] = draft.event  # what decoding `data` would give, and projections ask for it next
        self._versions[draft.stream] = version
        self._by_id[draft.event_id] = row
        self.new.append(row)
        if draft.payload is not None:
            self._payloads.append(draft.payload.row(self._recorded_at))
        return row


def _content(row: Draft | RecordedEvent) -> tuple[object, ...]:
    return row.stream, row.type, row.schema_version, row.data


def draft(stream: str, new: NewEvent) -> Draft:
    """`new` checked and encoded for `stream`. Raises `InvalidRequest` for what the log could not keep or give back."""
    type_name, schema_version, data = encode(new.event)
    if _UUID.fullmatch(new.event_id) is None:
        raise InvalidRequest(
            f"cannot append event {new.event_id!r}: its id is no UUID in lower case; use str(uuid4())"
        )
    if not 1 <= len(stream) <= 200:
        raise InvalidRequest(f"cannot append to {stream[:50]!r}: a stream's name has 1 to 200 characters")
    if not 0 <= new.occurred_at <= _MAX_INTEGER:
        raise InvalidRequest(
            f"cannot append event {new.event_id}: occurred_at {new.occurred_at} is out of range"
        )
    for text in (stream, new.actor, new.correlation_id, new.causation_id or ""):
        try:
            is_storable = "\0" not in text and len(text.encode()) <= 1024
        except UnicodeEncodeError:
            is_storable = False
        if not is_storable:
            raise InvalidRequest(
                f"cannot append event {new.event_id}: {text[:50]!r} holds a NUL or is not text of 1024 bytes"
            )
    return Draft(
        event_id=new.event_id,
        stream=stream,
        type=type_name,
        schema_version=schema_version,
        attempt=new.event.attempt,
        occurred_at=new.occurred_at,
        actor=new.actor,
        correlation_id=new.correlation_id,
        causation_id=new.causation_id,
        data=data,
        event=new.event,
        payload=new.payload,
    )
