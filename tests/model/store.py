"""A log in memory that refuses like the real one: versions, epochs, known ids, and answers that get lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from eventstore.appending import Batch, Draft
from eventstore.errors import EpochFenced, StoreUnavailable, VersionConflict
from eventstore.events import AgentEvent
from eventstore.lifecycle import evolve
from eventstore.state import AgentState
from manager.replay import Replayed

Outcome = Literal["ok", "refused", "unclear"]


class Row(NamedTuple):
    """One event of an agent, as it was made durable."""

    agent_id: str
    version: int
    event: AgentEvent
    at: int
    event_id: str


class _Last(NamedTuple):
    correlation_id: str
    event_id: str


class FakeStore:
    """`next_outcome` is what the next append comes to; `on_row` hears of each row while the world is as it was then."""

    def __init__(self, on_row: Callable[[Row], None]) -> None:
        self.rows: list[Row] = []
        self.epoch = 0
        self.next_outcome: Outcome = "ok"
        self._on_row = on_row

    def append_many(self, batches: Sequence[Batch], *, epoch: int | None) -> list[Row]:
        """As `EventStore.append_many`: all or nothing, and what it has already is not doubled."""
        if self.next_outcome == "refused":
            raise StoreUnavailable("cannot append: no space")
        known = {row.event_id for row in self.rows}
        fresh = [batch for batch in batches if not all(one.event_id in known for one in batch.events)]
        if fresh and epoch != self.epoch:
            raise EpochFenced(epoch=epoch or 0, current=self.epoch)
        added: list[Row] = []
        for batch in fresh:
            agent_id = batch.stream.removeprefix("agent/")
            version = sum(row.agent_id == agent_id for row in (*self.rows, *added))
            if version != batch.expected_version:
                raise VersionConflict(stream=batch.stream, expected=batch.expected_version, actual=version)
            for step, one in enumerate(batch.events, 1):
                assert isinstance(one, Draft)
                row = Row(agent_id, version + step, one.event, one.occurred_at, one.event_id)  # type: ignore[arg-type]
                added.append(row)
        for row in added:
            self.rows.append(row)
            self._on_row(row)
        if self.next_outcome == "unclear":
            raise StoreUnavailable("cannot tell whether it was appended")
        return added

    def known(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are in the log; as `append_many` it cannot always be asked."""
        if self.next_outcome == "refused":
            raise StoreUnavailable("cannot read: no connection")
        return {row.event_id for row in self.rows} & set(event_ids)

    def replay(self, ids: Sequence[str]) -> dict[str, Replayed]:
        """As `manager.replay.replay`; of the last event there are the ids that it is asked for."""
        states = {agent_id: self.state(agent_id) for agent_id in ids}
        last = {agent_id: _Last("", self.of(agent_id)[-1].event_id) for agent_id in ids}
        return {one: Replayed(state, last[one]) for one, state in states.items() if state is not None}  # type: ignore[arg-type]

    def of(self, agent_id: str) -> list[Row]:
        """The rows of an agent in order."""
        return [row for row in self.rows if row.agent_id == agent_id]

    def state(self, agent_id: str) -> AgentState | None:
        """What the log says of an agent."""
        state: AgentState | None = None
        for row in self.of(agent_id):
            state = evolve(state, row.event, row.at)
        return state
