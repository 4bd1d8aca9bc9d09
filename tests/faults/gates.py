"""Where our own processes wait for strace: each stops where its role begins, until the harness lets it go on.

A role that nobody has armed costs one look at a file. In the directory `place`:

    armed-ROLE          whoever comes to this role's gate stops there
    waiting-ROLE-PID-TID-AGENT
                        it has stopped; it goes on when the file is removed. AGENT: whose shim or process, or nothing
    pid-ROLE            the last process that took on this role

Standard library alone, for a launcher and its shims import it, too. Waiting makes only the calls `mknod`, `access` and
`clock_nanosleep`, which are therefore never injected.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

GIVEN_UP_SECONDS = 120.0  # a harness that was killed must not leave anybody waiting for ever
_LAUNCHER = "from tests.faults import gates\ngates.install_in_launcher({place!r})\nmain("

_AGENT = re.compile(rb"/agents/([0-9a-f]+)/")  # in the request that a shim, and a child, is given

_place = ""


def install_in_coordinator(place: str) -> None:
    """Roles of a coordinator: `opening`, `recovering`, `obeying` (one order); and those of its launchers."""
    global _place
    _place = place
    from manager.coordinator import Coordinator
    from manager.process import launch

    launcher = _LAUNCHER.format(place=place)
    launch._PROGRAM = launch._PROGRAM.replace("main(", launcher)
    recover = Coordinator.recover

    async def gated(self: Coordinator, *, announce: bool) -> Any:
        with gate("recovering"):
            return await recover(self, announce=announce)

    Coordinator.recover = gated  # type: ignore[method-assign]


def install_in_launcher(place: str) -> None:
    """Roles of a launcher and of what it forks: `launcher`, `shim`, `child` (which becomes the agent)."""
    global _place
    _place = place
    from manager.process import child, shim
    from manager.process.launcher import Launcher

    Launcher._become_shim = _behind("shim", Launcher._become_shim)  # type: ignore[method-assign]
    shim.become_agent = _behind("child", child.become_agent)  # type: ignore[attr-defined]
    _write("pid-launcher", str(os.getpid()))
    stop("launcher")


@contextlib.contextmanager
def gate(role: str) -> Iterator[None]:
    """Stop before the block and, if so, behind it, too: strace can be attached for it alone."""
    has_stopped = stop(role)
    try:
        yield
    finally:
        if has_stopped:
            _wait(f"{role}.end")


def stop(role: str, agent: str = "") -> bool:
    """Wait at the gate of a role, if it is armed; whether we did."""
    if not _place or not os.access(f"{_place}/armed-{role}", os.F_OK):
        return False
    _wait(role, agent)
    return True


def _behind(role: str, act: Callable[..., Any]) -> Callable[..., Any]:
    def stopping(*arguments: Any, **named: Any) -> Any:
        request = next(argument for argument in arguments if isinstance(argument, bytes))
        named_in = _AGENT.search(request)
        stop(role, named_in[1].decode() if named_in else "")
        return act(*arguments, **named)

    return stopping


def _wait(role: str, agent: str = "") -> None:
    name = f"waiting-{role}-{os.getpid()}-{threading.get_native_id()}-{agent}"
    os.mknod(f"{_place}/{name}")
    deadline = time.monotonic() + GIVEN_UP_SECONDS
    while os.access(f"{_place}/{name}", os.F_OK) and time.monotonic() < deadline:
        time.sleep(0.002)


def _write(name: str, text: str) -> None:
    with open(f"{_place}/{name}", "w", encoding="ascii") as file:
        file.write(text)
