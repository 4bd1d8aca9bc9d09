"""The event loop of a coordinator."""

import asyncio
import selectors
import socket


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
