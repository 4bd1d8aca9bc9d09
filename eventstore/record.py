"""An event on its way into the log (`NewEvent`) and as the log holds it (`RecordedEvent`).

Cheap to import on purpose: a command that lists agents reads rows of the log without loading the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    from eventstore.codec import UnknownEvent
    from eventstore.events import Event
    from eventstore.payloads import Payload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(microseconds: int) -> str:
    """The instant as text, UTC with microseconds: `2026-11-23T08:00:00.000000Z`."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append. `event_id` is UUID text: a second append with it and the same content stores nothing new.

    `occurred_at` is in microseconds since the epoch, UTC. `actor` is who caused it; `correlation_id` joins what belongs
    to one request, `causation_id` is the event that led to this one. `payload`: the text that `event` names.
    """

    event: Event
    event_id: str
    occurred_at: int
    actor: str
    correlation_id: str
    causation_id: str | None = None
    payload: Payload | None = None


class Head(NamedTuple):
    """The last position of the log, its hash and its time (microseconds, UTC); see `chain.EMPTY` for an empty one."""

    position: int
    hash: bytes
    recorded_at: int


class _Columns(NamedTuple):
    position: int
    event_id: str
    stream: str
    version: int
    type: str
    schema_version: int
    attempt: int | None
    home: str
    host: str
    epoch: int
    occurred_at: int
    recorded_at: int
    actor: str
    correlation_id: str
    causation_id: str | None
    data: str
    previous_hash: bytes
    hash: bytes


COLUMNS: tuple[str, ...] = _Columns._fields


class _Decoded:
    """As `functools.cached_property`, which takes a lock at each first use: a tenth of what a replay takes."""

    @overload
    def __get__(self, row: None, owner: type) -> _Decoded: ...

    @overload
    def __get__(self, row: RecordedEvent, owner: type) -> Event | UnknownEvent: ...

    def __get__(self, row: RecordedEvent | None, owner: type) -> _Decoded | Event | UnknownEvent:
        """The event, decoded on first use. Raises `StoreDamaged` if `data` is not what the type and version say."""
        if row is None:
            return self
        event = row.__dict__["event"] = _decode()(
            row.type, row.schema_version, row.data, position=row.position
        )
        return event


@cache
def _decode() -> Callable[..., Event | UnknownEvent]:
    from eventstore.codec import decode

    return decode


class RecordedEvent(_Columns):
    """One row of the log: its columns in the table's order, and the event that they hold.

    `data` is the stored JSON text, never re-encoded; times are microseconds since the epoch, UTC; `epoch` is the
    coordinator's that appended it (0: none was there yet).
    """

    event = _Decoded()

    def as_json(self) -> dict[str, Any]:
        """The object that `outlive events --json` prints: hashes in hex, times as RFC 3339, `data` as an object."""
        return {
            "position": self.position,
            "id": self.event_id,
            "stream": self.stream,
            "version": self.version,
            "type": self.type,
            "schema_version": self.schema_version,
            "attempt": self.attempt,
            "home": self.home,
            "host": self.host,
            "epoch": self.epoch,
            "occurred_at": rfc3339(self.occurred_at),
            "recorded_at": rfc3339(self.recorded_at),
            "actor": self.actor,
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "data": json.loads(self.data),
            "previous_hash": self.previous_hash.hex(),
            "hash": self.hash.hex(),
        }
