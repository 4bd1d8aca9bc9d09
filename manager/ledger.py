"""What a coordinator believes and has yet to make durable: states in memory, events staged, one commit for many.

`stage` runs `decide` and folds its events at once; `commit` appends everything staged in one transaction. While the
store cannot be written the staged events stay, in order and under their first ids, so that a later commit tells the
history as it was. Where the answer to an append was lost, the log is asked what it holds before anything else follows.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from eventstore.appending import Batch, Draft, draft
from eventstore.errors import StoreUnavailable
from eventstore.events import AgentEvent, AgentFailed
from eventstore.lifecycle import evolve
from eventstore.record import NewEvent
from eventstore.state import AgentState
from eventstore.store import EventStore
from manager.commands import Command, ConfirmStarted, ObserveExit, RecallSignal, Spawn
from manager.decide import decide
from manager.origin import Origin
from manager.replay import Replayed, replay


class _Staged(NamedTuple):
    stream: str
    version_before: int
    event: Draft


class Ledger:
    """States of the agents that have not ended, and the events that are not durable yet. For one thread.

    `epoch`: ours, or what begins it, where the log could not be written yet: the first commit does. `redacted(command,
    directory)`: the command about the attempt there, without secrets.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        epoch: int | Callable[[], int],
        clock: Callable[[], int],
        redacted: Callable[[Command, str], Command] = lambda command, _: command,
        replayed: Callable[[EventStore, Sequence[str]], Mapping[str, Replayed]] = replay,
    ) -> None:
        self._store = store
        self._redacted = redacted
        self._replayed = replayed
        self._clock = clock
        self._staged: list[_Staged] = []
        self._last: dict[str, tuple[str, str]] = {}  # agent → (correlation id, id of its last event)
        self._in_doubt: dict[str, str] = {}  # id → stream of the events of an append whose answer was lost
        self._found: list[str] = []  # agents whose dropped start is in the log
        self._tentative: tuple[str, AgentState, tuple[str, str]] | None = None
        self._before_start: dict[str, tuple[AgentState | None, tuple[str, str]]] = {}
        self._begin = epoch if callable(epoch) else None
        self.epoch = 0 if callable(epoch) else epoch
        self.states: dict[str, AgentState] = {}

    @property
    def has_staged(self) -> bool:
        """Whether something waits to be made durable."""
        return bool(self._staged)

    @property
    def unrecorded(self) -> tuple[Draft, ...]:
        """What waits to be made durable, in order."""
        return tuple(staged.event for staged in self._staged)

    def believe(self, agent_id: str, state: AgentState, correlation_id: str, event_id: str) -> None:
        """Take over what the log says of an agent; the ids are those of its last event."""
        self.states[agent_id] = state
        self._last[agent_id] = (correlation_id, event_id)

    def forget(self, agent_id: str) -> None:
        """Drop an agent that has ended."""
        self.states.pop(agent_id, None)
        self._last.pop(agent_id, None)

    def stage(
        self, agent_id: str, command: Command, origin: Origin | None = None, *, not_before: int = 0
    ) -> list[AgentEvent]:
        """Decide, fold and stage; the events that followed. Without `origin` it goes on with the agent's last order.

        `not_before`: the least time to decide by, for a deadline that the monotonic clock says has passed.
        Raises `InvalidRequest` and changes nothing when the state does not allow it, or the log could not hold it.
        """
        state = self.states.get(agent_id)
        now = max(self._clock(), not_before)
        if isinstance(command, RecallSignal) and state is not None:
            now = min(now, max(state.since_at, command.at))
            origin = (
                None if command.order is None else Origin(command.order.actor, command.order.correlation_id)
            )
        if state is not None:
            command = self._redacted(command, state.directory)
        events = decide(state, command, now)
        if isinstance(command, ConfirmStarted) and state is not None and command.executed_at is not None:
            # Found by a recovery, the start may be long ago. Clocks that were set do not put it before its intent.
            now = min(now, max(state.requested_at, command.executed_at))
        correlation, cause = self._last.get(agent_id, ("", ""))
        before_all = (state, (correlation, cause))
        if origin is None:
            origin = Origin("coordinator", correlation or str(uuid.uuid4()))
        else:
            cause = ""  # an order begins a story of its own: what came before did not lead to it
        staged: list[_Staged] = []
        for event in events:
            event_id = str(uuid.uuid4())
            new = NewEvent(
                event=event,
                event_id=event_id,
                occurred_at=now,
                actor=origin.actor,
                correlation_id=origin.correlation_id,
                causation_id=cause or None,
                payload=command.last_output
                if isinstance(command, ObserveExit) and isinstance(event, AgentFailed)
                else None,
            )
            before = 0 if state is None else state.version
            state = evolve(state, event, now)
            # What could not be recorded is refused here: once staged it would keep all that follows from the log.
            stream = f"agent/{agent_id}"
            staged.append(_Staged(stream, before, draft(stream, new)))
            cause = event_id
        self._staged += staged
        if isinstance(command, Spawn):
            self._before_start[agent_id] = before_all
        if state is not None and events:
            self.believe(agent_id, state, origin.correlation_id, cause)
        return events

    def commit(self) -> list[str]:
        """Append everything staged in one transaction. On any error it stays staged, in order.

        Agents of which a start that was dropped is in the log all the same: what is believed of them is what that
        says, and nothing of the attempt was launched.
        """
        if self._begin is not None:
            self.epoch = self._begin()
            self._begin = None
        self._settle_doubt()
        if not self._staged:
            return self._take_found()
        batches: list[Batch] = []
        for staged in self._staged:
            if batches and batches[-1].stream == staged.stream:
                previous = batches.pop()
                batches.append(
                    Batch(
                        stream=previous.stream,
                        events=(*previous.events, staged.event),
                        expected_version=previous.expected_version,
                    )
                )
            else:
                batches.append(
                    Batch(
                        stream=staged.stream, events=(staged.event,), expected_version=staged.version_before
                    )
                )
        try:
            self._store.append_many(batches, epoch=self.epoch)
        except StoreUnavailable:
            self._in_doubt = {staged.event.event_id: staged.stream for staged in self._staged}
            raise
        self._staged.clear()
        self._before_start.clear()
        return self._take_found()

    def _settle_doubt(self) -> None:
        if not self._in_doubt:
            return
        known = self._store.known(list(self._in_doubt))
        ours = known & {staged.event.event_id for staged in self._staged}
        dropped = {self._in_doubt[event_id] for event_id in known - ours}
        agents = [stream.removeprefix("agent/") for stream in sorted(dropped)]
        found = self._replayed(self._store, agents)
        self._staged = [
            staged
            for staged in self._staged
            if staged.event.event_id not in ours and staged.stream not in dropped
        ]
        self._in_doubt = {}
        for agent_id, (state, last) in found.items():
            self.believe(agent_id, state, last.correlation_id, last.event_id)
            self._found.append(agent_id)

    def _take_found(self) -> list[str]:
        found, self._found = self._found, []
        return found

    @contextlib.contextmanager
    def or_nothing(self, agent_id: str) -> Iterator[None]:
        """What is staged of the agent in this block, while nothing else is, is durable at its end or taken back."""
        if agent_id in self.states:
            self._tentative = (agent_id, self.states[agent_id], self._last[agent_id])
        try:
            yield
        finally:
            self._tentative = None

    def take_back(self) -> list[str]:
        """Take back every SPAWNING that is not durable, and all that was staged of that attempt: it is not launched.

        The agents that these were of. What was staged within `or_nothing` goes, too.
        """
        if self._tentative is not None:
            agent_id, before, last = self._tentative
            self._staged.clear()
            self.believe(agent_id, before, *last)
        dropped: list[str] = []
        kept: list[_Staged] = []
        for staged in self._staged:
            agent_id = staged.stream.removeprefix("agent/")
            if staged.event.event.TYPE == "SPAWNING":
                state, last = self._before_start[agent_id]
                self.forget(agent_id)
                if state is not None:
                    self.believe(agent_id, state, *last)
                dropped.append(agent_id)
            if agent_id not in dropped:
                kept.append(staged)
        self._staged = kept
        return dropped
