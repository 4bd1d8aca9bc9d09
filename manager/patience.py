"""Waits for all or any of several, for stops as long as they may take, and one that is given up when it is in vain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from eventstore.state import AgentState, Live
from manager.conditions import is_stopped_or_stuck
from manager.deadlines import until_next_stage

LOOKS = 5
LOOK_SECONDS = 1.0
RECORDED_SECONDS = 5.0  # for an end to be recorded

Condition = Callable[[AgentState], bool]


class AwaitedExits(NamedTuple):
    """What keeps agents from a condition may be that their shims cannot write how they ended: no room, say."""

    states: Mapping[str, AgentState]
    has_main_ended: Callable[[str], bool]
    ids: Sequence[str]
    condition: Condition

    def are_all_that_lacks(self) -> bool:
        """Whether each that does not fulfil the condition has ended, with no tree that is waited for, too."""
        short = [one for one in self.ids if one in self.states and not self.condition(self.states[one])]
        ended = [one for one in short if self.states[one].spec.until != "tree" and self.has_main_ended(one)]
        return bool(short) and ended == short


async def unless_in_vain(wait: Coroutine[Any, Any, None], is_in_vain: Callable[[], bool]) -> None:
    """Return once `wait` is over, or `is_in_vain` was true at `LOOKS` looks in a row. Raises what `wait` raises."""
    waiting = asyncio.ensure_future(wait)
    looks = 0
    try:
        while looks < LOOKS:
            done, _ = await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
            if done:
                return waiting.result()
            looks = looks + 1 if is_in_vain() else 0
    finally:
        waiting.cancel()


async def all_or_any(waits: Iterable[Coroutine[Any, Any, None]], *, any_of_them: bool) -> None:
    """Return once all of the waits are over, or the first of them. Raises what those raise."""
    waiting = [asyncio.ensure_future(wait) for wait in waits]
    when = asyncio.FIRST_COMPLETED if any_of_them else asyncio.ALL_COMPLETED
    try:
        done, _ = await asyncio.wait(waiting, return_when=when)
        for task in done:
            task.result()
    finally:
        for task in waiting:
            task.cancel()


async def stops_under_way(
    states: Mapping[str, AgentState], until: Callable[[str, Condition], Coroutine[Any, Any, None]], now: int
) -> list[str]:
    """Wait until each stop has come to an end, or its recorded waits have passed; whose they are.

    `until(agent_id, condition)` waits for one agent; it may raise. `now` in microseconds.
    """
    stops = {
        agent_id: state.phase.stop
        for agent_id, state in states.items()
        if isinstance(state.phase, Live) and state.phase.stop is not None
    }
    seconds = [until_next_stage(stop, now) + sum(stop.grace_seconds[stop.stage :]) for stop in stops.values()]
    with contextlib.suppress(TimeoutError):
        waits = asyncio.gather(*(until(agent_id, is_stopped_or_stuck) for agent_id in stops))
        await asyncio.wait_for(waits, max(seconds, default=0.0) + RECORDED_SECONDS)
    return list(stops)
