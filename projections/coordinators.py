"""One row for each coordinator that a home has had: when it came and went, and what its recoveries found."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table

from eventstore import home_events as ev
from eventstore.home_events import CoordinatorEvent
from eventstore.record import RecordedEvent
from eventstore.statements import Statements
from projections import tables
from projections.checkpoints import FOLLOWING_VERSIONS
from projections.rows import Row, upsert, values_of

Key = tuple[str, int]
_FOUND = ("reattached", "ended", "lost", "never_started", "resumed_stops")
_OWN_TYPES = frozenset(kind.TYPE for kind in CoordinatorEvent.__args__)


class CoordinatorsProjection:
    """Keeps the table `coordinators`, or another of its shape."""

    name = "coordinators"
    version = FOLLOWING_VERSIONS["coordinators"]

    def __init__(self, coordinators: Table = tables.coordinators) -> None:
        self._table = coordinators
        self._upsert = upsert(coordinators)
        self._values = values_of(coordinators)
        self._columns = [column.name for column in coordinators.columns]

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Take in events that follow those taken in before."""
        statements = Statements(connection)
        rows: dict[Key, Row] = {}
        for event in events:
            if event.epoch:
                key = (event.home, event.epoch)
                row = rows[key] if key in rows else self._known(statements, key)
                rows[key] = coordinator_row(row, event)
        statements.run_many(self._upsert, list(map(self._values, rows.values())))

    def _known(self, statements: Statements, key: Key) -> Row | None:
        query = f"SELECT * FROM {self._table.name} WHERE home = ? AND epoch = ?"  # noqa: S608 (our own names)
        found = statements.rows(query, key)
        return dict(zip(self._columns, found[0], strict=True)) if found else None


def coordinator_row(row: Row | None, recorded: RecordedEvent) -> Row:
    """The row of the coordinator in whose epoch the event was recorded, after it."""
    changed = {
        **(_first(recorded) if row is None else row),
        "last_seen_at": recorded.recorded_at,
        "position": recorded.position,
    }
    changed["events"] += 1
    # Most events are agents' and need not be decoded here.
    event = recorded.event if recorded.type in _OWN_TYPES else None
    match event:
        case ev.CoordinatorStarted(pid=pid, boot_id=boot_id, version=version):
            changed |= {"pid": pid, "boot_id": boot_id, "version": version, "actor": recorded.actor}
        case ev.CoordinatorStopped(agents_left=left):
            changed |= {"stopped_at": recorded.occurred_at, "agents_left": left}
        case ev.RecoveryCompleted():
            changed["recoveries"] += 1
            changed["recovery_seconds"] += event.duration_seconds
            changed |= {name: changed[name] + getattr(event, name) for name in _FOUND}
    return changed


def _first(recorded: RecordedEvent) -> Row:
    return {
        **{column.name: None for column in tables.coordinators.columns},
        "home": recorded.home,
        "epoch": recorded.epoch,
        "host": recorded.host,
        "actor": recorded.actor,
        "started_at": recorded.occurred_at,
        "events": 0,
        "recoveries": 0,
        "recovery_seconds": 0.0,
        **dict.fromkeys(_FOUND, 0),
    }
