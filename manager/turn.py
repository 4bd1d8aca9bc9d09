"""One turn of the coordinator's loop: stage events, make them durable in one commit, then act.

Callbacks (orders, readable descriptors, timers) stage events in the ledger and queue effects; the commit is scheduled
behind them, so that a thousand spawns or exits share one, and no effect runs before the events that announce it are
durable. There is one exception: while the store cannot be written, agents can still be stopped, and what was done is
recorded afterwards, in order. Starts and other orders then fail, and leave nothing behind; and whoever waits is told
nothing that is not durable, but the reason why it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from eventstore.crashpoints import crash_point
from eventstore.errors import OutliveError, StoreDamaged, StoreUnavailable
from eventstore.state import AgentState
from manager.commands import Command
from manager.conditions import fate, unrecorded
from manager.ledger import Ledger
from manager.origin import Origin

STORE_RETRY_SECONDS = 1.0
EFFECT_RETRY_SECONDS = 1.0
LEAST_PAUSE_SECONDS = 0.004  # between two commits; each costs 0.3 ms or more

Condition = Callable[[AgentState], bool]


class _Effect(NamedTuple):
    run: Callable[[], None]
    start_of: str | None


class _Waiter(NamedTuple):
    condition: Condition
    future: asyncio.Future[AgentState]


class Turn:
    """Commits and effects, in the running event loop. `deposed` is set once this coordinator must not act any more,
    `why_down` while the store cannot be written.

    `on_settled(agent_id, state)` is called after each commit for every agent whose moves it made durable;
    `on_dropped(agent_id)` for each start that could not be made so, and again when it turns out that it was;
    `on_unrecorded()` before effects whose events could not.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        on_settled: Callable[[str, AgentState], None],
        on_dropped: Callable[[str], None],
        on_unrecorded: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ledger = ledger
        self._on_settled = on_settled
        self._on_dropped = on_dropped
        self._on_unrecorded = on_unrecorded
        self._effects: list[_Effect] = []
        self._moved: dict[str, AgentState] = {}
        self._waiters: dict[str, list[_Waiter]] = {}
        self._commit_due: asyncio.Future[None] | None = None
        self._due_at: asyncio.TimerHandle | None = None
        self._committed_at = 0.0
        self._down_since: float | None = None
        self.why_down: OutliveError | None = None
        self._is_retry_due = False
        self.deposed: OutliveError | None = None

    def apply(
        self, agent_id: str, command: Command, origin: Origin | None = None, *, not_before: int = 0
    ) -> bool:
        """Stage what follows from a command; True if anything did. Raises `InvalidRequest`, or why we are deposed."""
        if self.deposed is not None:
            raise self.deposed
        events = self._ledger.stage(agent_id, command, origin, not_before=not_before)
        if events:
            self._moved[agent_id] = self._ledger.states[agent_id]
            self.commit_soon()
        return bool(events)

    def record(self, agent_id: str, command: Command, origin: Origin | None) -> bool:
        """`apply`, made durable at once. Raises also what a commit raises: nothing is changed then."""
        self._commit_now()
        with self._ledger.or_nothing(agent_id):
            is_news = self.apply(agent_id, command, origin)
            self._commit_now()
        return is_news

    def then(self, run: Callable[[], None], *, start_of: str | None = None) -> None:
        """Do it after the next commit; the start of an agent only if that commit was made."""
        self._effects.append(_Effect(run, start_of))
        self.commit_soon()

    def commit_soon(self) -> asyncio.Future[None]:
        """A future of the commit that covers all that is staged now; it raises what the commit raised."""
        if self._commit_due is None:
            self._commit_due = self._loop.create_future()
            self._commit_due.add_done_callback(lambda future: future.exception())  # somebody has looked at it
            # After a pause, at once; in a burst, what comes within a few milliseconds shares one commit.
            self._due_at = self._loop.call_at(self._committed_at + LEAST_PAUSE_SECONDS, self._commit)
        return self._commit_due

    def _commit_now(self) -> None:
        due = self.commit_soon()
        if self._due_at is not None:
            self._due_at.cancel()
        self._commit()
        due.result()

    async def recorded(self, what: str) -> None:
        """Return once all that is staged is durable. Raises `StoreUnavailable`: `what` was done all the same."""
        try:
            await self.commit_soon()
        except StoreUnavailable as error:
            raise unrecorded(what, error) from error

    async def until(self, agent_id: str, condition: Condition) -> None:
        """Return once `condition` holds of the agent after a commit, or it has ended.

        Raises why we are deposed, and `StoreUnavailable` when it holds and cannot be made durable.
        """
        if self.deposed is not None:
            raise self.deposed
        state = self._ledger.states.get(agent_id)
        if state is None:
            return  # it ended before we came to look, and was forgotten: nobody would wake us
        if agent_id not in self._moved and condition(state):
            return
        waiter = _Waiter(condition, self._loop.create_future())
        self._waiters.setdefault(agent_id, []).append(waiter)
        try:
            await waiter.future
        finally:
            waiting = self._waiters[agent_id]
            waiting.remove(waiter)
            if not waiting:
                del self._waiters[agent_id]

    def _commit(self) -> None:
        due, self._commit_due = self._commit_due, None
        effects, self._effects = self._effects, []
        moved, self._moved = self._moved, {}
        assert due is not None
        dropped: list[str] = []
        try:
            crash_point("coordinator.before_commit")
            dropped = self._ledger.commit()
            crash_point("coordinator.after_commit")
        except (StoreUnavailable, StoreDamaged) as error:
            due.set_exception(error)
            dropped = self._ledger.take_back()
            effects = [effect for effect in effects if effect.start_of is None]
            self._moved = {agent: self._ledger.states[agent] for agent in moved if agent not in dropped}
            self._go_without_store(error)
            self._on_unrecorded()
        except OutliveError as error:
            self._depose(error)
            due.set_exception(error)
            return
        else:
            self._down_since = self.why_down = None
            effects = [effect for effect in effects if effect.start_of not in dropped]
            moved |= {agent: self._ledger.states[agent] for agent in dropped}
            due.set_result(None)
        self._committed_at = self._loop.time()
        for effect in effects:
            self.run(effect.run)
        if self._down_since is None:
            self._settle(moved)
        for agent_id in dropped:
            self._on_dropped(agent_id)

    def _go_without_store(self, error: OutliveError) -> None:
        """Try again soon; after more than a moment, tell those whose wait is over why that cannot be recorded."""
        now = self._loop.time()
        self._down_since, self.why_down = self._down_since or now, error
        if not self._is_retry_due:
            self._is_retry_due = True
            self._loop.call_later(STORE_RETRY_SECONDS, self._retry)
        if now - self._down_since >= STORE_RETRY_SECONDS / 2:
            for waiter, state in self._satisfied(self._moved):
                waiter.set_exception(unrecorded(fate(state), error))

    def run(self, effect: Callable[[], None]) -> None:
        """Do what has been recorded."""
        try:
            effect()
        except OSError:  # out of descriptors or memory: the others do not suffer, and this one is done later
            self._loop.call_later(EFFECT_RETRY_SECONDS, self.run, effect)

    def _retry(self) -> None:
        self._is_retry_due = False
        if self._down_since is not None and self.deposed is None:
            self.commit_soon()

    def _settle(self, moved: dict[str, AgentState]) -> None:
        for future, state in self._satisfied(moved):
            future.set_result(state)
        for agent_id, state in moved.items():
            self._on_settled(agent_id, state)

    def _satisfied(
        self, moved: dict[str, AgentState]
    ) -> Iterator[tuple[asyncio.Future[AgentState], AgentState]]:
        for agent_id, state in moved.items():
            for waiter in self._waiters.get(agent_id, ()):
                if not waiter.future.done() and waiter.condition(state):
                    yield waiter.future, state

    def _depose(self, error: OutliveError) -> None:
        # Fenced, or somebody else wrote: whoever did so is the coordinator now, and we neither append nor signal.
        self.deposed = error
        for waiter in (waiter for waiting in self._waiters.values() for waiter in waiting):
            if not waiter.future.done():
                waiter.future.set_exception(error)
