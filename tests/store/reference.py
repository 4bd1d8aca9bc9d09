"""What the log must answer and hold, by a list in memory and the encoder of the oracle: nothing of the store's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, cast

from eventstore.appending import Batch
from eventstore.codec import encode
from eventstore.errors import EpochFenced, EventIdConflict, InvalidRequest, StoreDamaged, VersionConflict
from eventstore.record import COLUMNS, Head, NewEvent
from tests.faults.oracle.log import Row

Answer = list[tuple[Any, ...]] | type[Exception]


def columns(row: object) -> tuple[Any, ...]:
    """The values of a row of either kind, in the order of the table's columns."""
    return tuple(getattr(row, name) for name in COLUMNS)


class Reference:
    """The rows after `base`, of several homes; `now` is the clock that all of them read."""

    def __init__(self, base: Head) -> None:
        self.base = base
        self.now = base.recorded_at
        self.rows: list[Row] = []
        self.epochs: dict[str, int] = {}

    @property
    def head(self) -> Head:
        """Where the log ends."""
        last = self.rows[-1] if self.rows else None
        return self.base if last is None else Head(last.position, last.hash, last.recorded_at)

    def version(self, stream: str) -> int:
        """Of a stream."""
        return sum(1 for row in self.rows if row.stream == stream)

    def append(self, home: str, batches: Sequence[Batch], epoch: int | None) -> Answer:
        """What an append is answered with."""
        news = [(batch.stream, cast(NewEvent, new)) for batch in batches for new in batch.events]
        ids = [new.event_id for _, new in news]
        if len(set(ids)) != len(ids):
            return InvalidRequest
        known = {row.event_id: row for row in self.rows if row.event_id in ids}
        if known:
            return self._again(news, known)
        current = self.epochs.get(home, 0)
        if not news:
            return []
        if epoch is not None and epoch != current:
            return EpochFenced if epoch < current else StoreDamaged
        versions: dict[str, int] = {}
        for batch in batches:
            actual = versions.get(batch.stream, self.version(batch.stream))
            if actual != batch.expected_version:
                return VersionConflict
            versions[batch.stream] = actual + len(batch.events)
        return [columns(self._add(home, stream, new)) for stream, new in news]

    def begin(self, home: str, stream: str, new: NewEvent) -> int:
        """The next epoch of a home, with its event."""
        self.epochs[home] = self.epochs.get(home, 0) + 1
        self._add(home, stream, new)
        return self.epochs[home]

    def read(
        self,
        after: int,
        until: int | None = None,
        streams: Collection[str] | None = None,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """The events that were asked for."""
        found = [
            columns(row)
            for row in self.rows
            if row.position > after
            and (until is None or row.position <= until)
            and (streams is None or row.stream in streams)
        ]
        return found[:limit]

    def _again(self, news: Sequence[tuple[str, NewEvent]], known: dict[str, Row]) -> Answer:
        rows = [known.get(new.event_id) for _, new in news]
        told = [(stream, *encode(new.event)) for stream, new in news]
        if [row and (row.stream, row.type, row.schema_version, row.data) for row in rows] != told:
            return EventIdConflict
        found = [row for row in rows if row is not None]
        is_in_order = sorted(found, key=lambda row: row.position) == found
        return [columns(row) for row in found] if is_in_order else EventIdConflict

    def _add(self, home: str, stream: str, new: NewEvent) -> Row:
        kind, schema_version, data = encode(new.event)
        row = Row(
            position=self.head.position + 1,
            version=self.version(stream) + 1,
            schema_version=schema_version,
            epoch=self.epochs.get(home, 0),
            occurred_at=new.occurred_at,
            recorded_at=max(self.now, self.head.recorded_at),
            attempt=new.event.attempt,
            event_id=new.event_id,
            stream=stream,
            type=kind,
            home=home,
            host=f"host of {home}",
            actor=new.actor,
            correlation_id=new.correlation_id,
            causation_id=new.causation_id,
            data=data,
            previous_hash=self.head.hash,
            hash=b"",
        )
        row = replace(row, hash=row.computed_hash(self.head.hash))
        self.rows.append(row)
        return row
