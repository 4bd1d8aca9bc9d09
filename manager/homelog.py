"""The home's own stream: coordinators coming and going, recoveries."""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from eventstore.crashpoints import crash_point
from eventstore.errors import StoreUnavailable
from eventstore.home_events import CoordinatorEvent, CoordinatorStarted, CoordinatorStopped, RecoveryCompleted
from eventstore.record import NewEvent
from eventstore.store import EventStore, now_microseconds
from manager import prunes
from manager.checkpointing import checkpoints_of
from manager.evidence import require_evidence
from manager.home import Home
from manager.homeidentity import HomeIdentity
from manager.process import procfs
from manager.status import RecoveryReport
from manager.version import VERSION
from projections.agents import AgentsProjection


def open_log(home: Home, identity: HomeIdentity, url: str) -> EventStore:
    """The log of a home whose lock we hold, for appending. Raises what `EventStore.open` raises, and `KeyUnusable`."""
    require_evidence(home, identity, url)
    prunes.require_vouched(home, url)
    return EventStore.open(
        url,
        home=identity.id,
        host=platform.node(),
        inline=[AgentsProjection()],
        head=home.head,
        checkpoints=checkpoints_of(home, identity.id),
    )


def record_takeover(home: Home, url: str, actor: str, ended: int) -> None:
    """Say in the log that process `ended` was ended for the home's lock, which we hold.

    As a coordinator does that comes, finds no work and leaves. Raises what `open_log` raises.
    """
    identity = home.prepare()
    with open_log(home, identity, url) as store:
        log = HomeLog(store, identity.id, actor)
        log.begin(ended)
        log.append(CoordinatorStopped(epoch=log.epoch, agents_left=log.agents_with_a_process()))


class HomeLog:
    """Appends to `home/<id>`, and answers the few questions about the whole log that a coordinator has."""

    def __init__(self, store: EventStore, home_id: str, actor: str, *, may_begin_later: bool = False) -> None:
        self._store = store
        self._may_begin_later = may_begin_later
        self._home_id = home_id
        self._actor = actor
        self._stream = f"home/{home_id}"
        self._correlation_id = str(uuid.uuid4())  # of what this coordinator does of itself
        self._begun_by = str(uuid.uuid4())
        self.epoch = 0

    def begun(self, taken_over_from: int | None = None) -> int | Callable[[], int]:
        """The epoch that `begin` takes; `begin` itself where the log cannot be written now, and it may come later."""
        begin = partial(self.begin, taken_over_from)
        try:
            return begin()
        except StoreUnavailable:
            if not self._may_begin_later:
                raise
            return begin

    def begin(self, taken_over_from: int | None = None) -> int:
        """Take the next epoch with COORDINATOR_STARTED; every older coordinator is fenced from here on.

        `taken_over_from`: the process that was ended for it.
        """
        crash_point("coordinator.before_epoch")
        self.epoch = self._store.begin_epoch(
            lambda epoch: replace(
                self._new(
                    CoordinatorStarted(
                        epoch=epoch,
                        pid=os.getpid(),
                        boot_id=procfs.boot_id(),
                        version=VERSION,
                        taken_over_from=taken_over_from,
                    )
                ),
                event_id=self._begun_by,
                causation_id=None,
            ),
            stream=self._stream,
        )
        crash_point("coordinator.after_epoch")
        return self.epoch

    def append(self, event: CoordinatorEvent, *, actor: str | None = None) -> None:
        """Append one event at once, by `actor` or whose log it is. Raises as `EventStore.append` does."""
        version = self._rows("SELECT max(version) FROM events WHERE stream = ?", (self._stream,))[0][0] or 0
        self._store.append(
            self._stream, [self._new(event, actor)], expected_version=version, epoch=self.epoch
        )

    def append_recovery(self, report: RecoveryReport) -> None:
        """Append what a recovery found."""
        self.append(
            RecoveryCompleted(
                epoch=self.epoch,
                reattached=report.reattached,
                ended=report.ended,
                lost=report.lost,
                never_started=report.never_started,
                resumed_stops=report.resumed_stops,
                due_attempts=report.due_attempts,
                duration_seconds=report.duration_seconds,
            )
        )

    def living_agents(self) -> list[str]:
        """Ids of this home's agents that have not ended."""
        query = "SELECT agent_id FROM agents WHERE is_final = 0 AND home = ? ORDER BY spawned_at, agent_id"
        return [row[0] for row in self._rows(query, (self._home_id,))]

    def agents_with_a_process(self) -> int:
        """How many of this home's agents have one, for all that is known."""
        query = "SELECT count(*) FROM agents WHERE home = ? AND state IN ('SPAWNING', 'RUNNING', 'STOPPING')"
        return int(self._rows(query, (self._home_id,))[0][0])

    def last_recorded_at(self) -> int:
        """When the log was last written, microseconds; now for an empty one."""
        rows = self._rows("SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1")
        return int(rows[0][0]) if rows else now_microseconds()

    def _rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with contextlib.closing(self._store.reader()) as reader:
            return reader.rows(query, parameters)

    def _new(self, event: CoordinatorEvent, actor: str | None = None) -> NewEvent:
        return NewEvent(
            event=event,
            event_id=str(uuid.uuid4()),
            occurred_at=now_microseconds(),
            actor=actor or self._actor,
            correlation_id=self._correlation_id if actor is None else str(uuid.uuid4()),
            causation_id=self._begun_by if actor is None else None,
        )
