"""What callers wait for, in the coordinator's loop: conditions of agents, some of which can come true unrecorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from eventstore.errors import StoreUnavailable
from eventstore.state import AgentState, Live
from manager.attachment import Attachment
from manager.conditions import is_known, is_stopped_or_stuck, is_stuck, unrecorded
from manager.deadlines import until_next_stage
from manager.ledger import Ledger
from manager.patience import unless_in_vain
from manager.stopping import leftovers
from manager.turn import Condition, Turn

SURE_SECONDS = 0.5  # that an end cannot be recorded, while the log cannot be written
DOUBT_SECONDS = 5.0  # the same while it can: a shim may be slow
RECORDED_SECONDS = 5.0  # for an end to be recorded

Ended = Literal["main", "tree"]


class Waits(NamedTuple):
    """`held(agent_id)`: the hold on an agent's attempt, if there is one."""

    ledger: Ledger
    turn: Turn
    held: Callable[[str], Attachment | None]

    async def all_until(self, ids: Iterable[str], condition: Condition) -> None:
        """Until it holds of each, or that has ended. Raises what `Turn.until` raises."""
        known = [agent_id for agent_id in ids if agent_id in self.ledger.states]
        await asyncio.gather(*(self.turn.until(agent_id, condition) for agent_id in known))

    async def all_verified(self, ids: Sequence[str], condition: Condition) -> None:
        """So, or all that are not have ended and how cannot be recorded: nobody waits for room on a disk."""
        await self._unless_in_vain(ids, condition, "main")

    async def all_stopped(self, ids: Sequence[str]) -> None:
        """Until each has ended, or its last deadline has passed.

        Raises `StoreUnavailable` as soon as those that are left have ended with all their processes, and how cannot be
        recorded.
        """
        left = await self._unless_in_vain(ids, is_stopped_or_stuck, "tree")
        if left:
            names = ", ".join(state.name for state in left)
            what = f"{names} {'was' if len(left) == 1 else 'were'} stopped"
            if self.turn.why_down is not None:
                raise unrecorded(what, self.turn.why_down)
            raise StoreUnavailable(
                f"cannot record that {what}: the exit is not written into the home yet, as on a full disk; "
                "it is recorded once it is"
            )

    async def settle_starts(self, ids: Iterable[str], seconds: float) -> None:
        """Until starts that are under way have come to an end, at most so long."""
        states = self.ledger.states
        starting = [agent_id for agent_id in ids if agent_id in states and not is_known(states[agent_id])]
        with contextlib.suppress(TimeoutError, StoreUnavailable):  # watched, and recorded when it can be
            await asyncio.wait_for(self.all_until(starting, is_known), seconds)

    async def finish_stops(self, now: int) -> list[str]:
        """Until each stop that is under way has come to an end, or its recorded waits have passed; whose they are.

        `now` in microseconds. Where only the record of an exit is wanting, as after a full disk, that is waited for.
        """
        phases = {agent_id: state.phase for agent_id, state in self.ledger.states.items()}
        stops = {one: phase.stop for one, phase in phases.items() if isinstance(phase, Live) and phase.stop}
        most = [
            until_next_stage(stop, now) + sum(stop.grace_seconds[stop.stage :]) for stop in stops.values()
        ]
        with contextlib.suppress(TimeoutError):
            waits = asyncio.gather(*(self.turn.until(one, partial(self._is_finished, one)) for one in stops))
            await asyncio.wait_for(waits, max(most, default=0.0) + RECORDED_SECONDS)
        return list(stops)

    def _is_finished(self, agent_id: str, state: AgentState) -> bool:
        held = self.held(agent_id)
        has_ended = held is not None and held.has_main_ended()
        return is_stopped_or_stuck(state) and not (has_ended and is_stuck(state))

    async def _unless_in_vain(
        self, ids: Sequence[str], condition: Condition, whole: Ended
    ) -> list[AgentState]:
        """The agents for which waiting was in vain."""

        def patience() -> float | None:
            if not self._have_ended(self._short(ids, condition), whole):
                return None
            return DOUBT_SECONDS if self.turn.why_down is None else SURE_SECONDS

        is_over = await unless_in_vain(self.all_until(ids, condition), patience)
        return [] if is_over else [self.ledger.states[one] for one in self._short(ids, condition)]

    def _short(self, ids: Iterable[str], condition: Condition) -> list[str]:
        states = self.ledger.states
        return [one for one in ids if one in states and not condition(states[one])]

    def _have_ended(self, ids: Sequence[str], whole: Ended) -> bool:
        """Whether there are some, and each is over, and its shim has it still to write."""
        holds = [self.held(one) for one in ids]
        with contextlib.suppress(OSError):  # out of descriptors: later
            if not holds or not all(held is not None and _is_unwritten(held) for held in holds):
                return False
            if whole == "main":  # a tree that is waited for may go on
                return all(self.ledger.states[one].spec.until != "tree" for one in ids)
            return not any(leftovers(held) for held in holds if held is not None)
        return False


def _is_unwritten(held: Attachment) -> bool:
    return held.has_main_ended() and held.shim() is not None  # where it is lost the kernel tells, or nobody
