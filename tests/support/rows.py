"""Rows of a log that was never stored, for what reads rows: positions and times count up from the first."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore import events as ev
from eventstore.codec import encode
from eventstore.home_events import CoordinatorStarted
from eventstore.record import RecordedEvent
from manager.why.material import Entry
from tests.support.histories import BOOT
from tests.support.states import SECOND, T0


def entries(
    events: Sequence[ev.Event],
    *,
    start: int = 1,
    stream: str = "agent/x",
    epoch: int = 1,
    actor: str = "somebody",
) -> tuple[Entry, ...]:
    """One entry an event, a second apart, the first at T0 and `start`; `actor` is behind what people order."""
    found = []
    for offset, event in enumerate(events):
        name, schema_version, data = encode(event)
        position, at = start + offset, T0 + offset * SECOND
        is_order = isinstance(event, ev.AgentSpawning | ev.StopRequested | ev.SignalSent)
        row = RecordedEvent(
            position=position,
            event_id=f"id-{position}",
            stream=stream,
            version=offset + 1,
            type=name,
            schema_version=schema_version,
            attempt=event.attempt,
            home="h",
            host="here",
            epoch=epoch,
            occurred_at=at,
            recorded_at=at,
            actor=actor if is_order else "coordinator",
            correlation_id="c",
            causation_id=None,
            data=data,
            previous_hash=bytes(32),
            hash=position.to_bytes(32, "big"),
        )
        found.append(Entry.of(row))
    return tuple(found)


def coordinator(*, epoch: int = 1, boot_id: str = BOOT, position: int = 1) -> Entry:
    """A coordinator's start."""
    started = CoordinatorStarted(epoch=epoch, pid=1, boot_id=boot_id, version="0")
    return entries([started], start=position, stream="home/h", epoch=epoch)[0]
