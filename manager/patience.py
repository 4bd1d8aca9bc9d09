"""Waits for all or any of several, for stops as long as they may take, and one that is given up when it is in vain."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from eventstore.state import AgentState, Live
from manager.conditions import is_stopped_or_stuck
from manager.deadlines import until_next_stage

LOOK_SECONDS = 0.25
RECORDED_SECONDS = 5.0  # for an end to be recorded

Condition = Callable[[AgentState], bool]


async def unless_in_vain(wait: Coroutine[Any, Any, None], patience: Callable[[], float | None]) -> bool:
    """True once `wait` is over; False once it was seen to be in vain for long enough. Raises what `wait` raises.

    `patience()`: None while it is not in vain, else for how many seconds that must be so.
    """
    waiting = asyncio.ensure_future(wait)
    since: float | None = None
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
            if done:
                waiting.result()
                return True
            seconds, now = patience(), time.monotonic()
            since = None if seconds is None else since or now
            if since is not None and seconds is not None and now - since >= seconds:
                return False
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
