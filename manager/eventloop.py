"""The event loop of a coordinator."""

import asyncio
import selectors
import socket
from collections.abc import Callable

BEAT_SECONDS = 1.0  # how late another thread's call is heard whose wake-up asyncio dropped for want of memory


def event_loop() -> asyncio.AbstractEventLoop:
    """A loop. Raises OSError where there are no descriptors for it; asyncio cannot take back one that is half made."""
    selector = selectors.DefaultSelector()
    try:
        for end in socket.socketpair():  # of which the loop makes one, too
            end.close()
    except OSError:
        selector.close()
        raise
    return asyncio.SelectorEventLoop(selector)


def keep_awake(loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
    """Let the loop look every second whether another thread has called, and call `look`."""
    loop.call_later(BEAT_SECONDS, keep_awake, loop, look)
    look()
