"""Waits for all or any of several, and one that is given up when it is in vain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

LOOK_SECONDS = 0.25


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
