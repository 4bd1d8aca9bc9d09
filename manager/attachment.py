"""A coordinator's hold on one living attempt: its handles, and the timers that are set for it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Literal

from eventstore.values import ProcessRecord
from manager.observe import Look, main_identity, shim_identity, wait_status
from manager.process import procfs, tree
from manager.process.attempt_lock import holds_main
from manager.process.features import features
from manager.process.identity import prove, prove_descendant
from manager.process.signalling import ProvenProcess, exit_info
from manager.recovery import ExitRecord, Observed
from manager.silence import Heard

Timer = Literal["window", "look", "stage", "kill", "backoff", "wall", "silence"]
KERNEL_EXIT_SECONDS = 5.0  # for init to reap an orphan; up to 1.3 s was seen
RETRY_SECONDS = 1.0  # for descriptors or memory to be free again


class Attachment:
    """For one event loop. Opening the handles raises OSError when we lack descriptors."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self._loop = loop
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._watched: list[int] = []
        self._shim: ProvenProcess | None = None
        self._shim_pidfd: int | None = None
        self.path = path
        self.process: ProcessRecord | None = None
        self.token = ""
        self.main: ProvenProcess | None = None
        self.stage_waited_for = 0
        self.is_wall_watched = False
        self.heard: Heard | None = None
        self.via: Literal["shim", "process"] | None = None
        self._kernel_deadline: float | None = None

    # --- handles ----------------------------------------------------------------------------------------------------

    def hold_shim(self, pidfd: int | None) -> None:
        """Keep the shim's pidfd as its parent opened it."""
        self._shim_pidfd = pidfd

    def hold_main(self, process: ProcessRecord) -> bool:
        """Open and prove the main process, so that its exit is known even if its shim is lost; False: try it later."""
        self.process = process
        self.via = "shim"
        if self.main is None:
            try:
                self.main = self._prove_main(process)
            except OSError:  # out of descriptors
                return False
        return True

    def adopt(self, look: Look) -> None:
        """Keep the handles of a look that we do not have yet, and close the others."""
        self.process = self.process or look.observed.identity
        self.token = self.token or look.token
        if self.main is None:
            self.main = look.main
        elif look.main is not None:
            look.main.close()
        if self._shim is None:
            self._shim = look.shim
        elif look.shim is not None:
            look.shim.close()

    def shim(self) -> ProvenProcess | None:
        """The shim, proved and alive, or None."""
        if self._shim is None and self.process is not None:
            self._shim = prove(shim_identity(self.process), shim_holds_lock=False).process
        return None if self._shim is None or self._shim.has_ended else self._shim

    def has_main_ended(self) -> bool:
        """Whether the main process is known to be over (a zombie counts)."""
        return self.main is not None and self.main.has_ended

    def members(self) -> Iterator[ProvenProcess]:
        """Handles of all living processes of the attempt, the main process first, each once.

        Here and in `roots` each serves until the next one is asked for.
        """
        seen: set[int] = set()
        for process in chain(self._living_main(), self._living_others()):
            if process.pid not in seen:
                seen.add(process.pid)
                yield process

    def roots(self) -> Iterator[ProvenProcess]:
        """The main process, or, when it has ended before its tree, the processes directly below the shim."""
        is_main_alive = False
        for main in self._living_main():
            is_main_alive = True
            yield main
        if is_main_alive:
            return
        shim = self.shim()
        if shim is None:
            yield from self.members()
            return
        for pid in procfs.children_listed(shim.pid) or ():
            process = prove_descendant(shim, pid)
            if process is not None:
                with process:
                    yield process

    def _living_main(self) -> Iterator[ProvenProcess]:
        if self.main is not None and self.main.pidfd is not None:
            if not self.main.has_ended:  # takes no descriptor: a stop works when there are none left
                yield self.main
        elif self.process is not None:
            main = self._prove_main(self.process)
            if main is not None:
                with main:
                    yield main

    def _prove_main(self, process: ProcessRecord) -> ProvenProcess | None:
        """A shim that lives may have reaped it and go on with the rest of its tree: then its pid is anybody's."""
        return prove(main_identity(process), shim_holds_lock=lambda: holds_main(self.path)).process

    def _living_others(self) -> Iterator[ProvenProcess]:
        shim = self.shim()
        if shim is not None:
            yield from tree.descendants(shim)
        elif self.token:
            yield from tree.token_holders(self.token)
        if self.process is not None and self.process.cgroup is not None:
            yield from tree.cgroup_members(self.process.cgroup)

    def with_kernel_exit(self, observed: Observed) -> Observed | None:
        """With the exit that the kernel tells of an agent that lost its shim; None while init has yet to reap it."""
        is_orphan = observed.exit is None and not observed.is_shim_alive
        if not is_orphan or observed.process != "gone" or self.main is None or not features().pidfd_info:
            return observed
        status = exit_info(self.main)
        if status is not None:
            answer = ExitRecord(exit=wait_status(status), source="pidfd", is_tree_complete=False)
            return replace(observed, exit=answer)
        now = time.monotonic()
        self._kernel_deadline = self._kernel_deadline or now + KERNEL_EXIT_SECONDS
        return observed if now >= self._kernel_deadline else None

    # --- watching -----------------------------------------------------------------------------------------------

    def watch(self, *, shim_ended: Callable[[], None], main_ended: Callable[[], None]) -> bool:
        """Call back once at each end; False where that cannot be watched (no pidfds): one must look."""
        shim_fd = self._shim_pidfd if self._shim_pidfd is not None else getattr(self._shim, "pidfd", None)
        main_fd = getattr(self.main, "pidfd", None)
        try:
            for descriptor, callback in ((shim_fd, shim_ended), (main_fd, main_ended)):
                if descriptor is not None and descriptor not in self._watched:
                    self._loop.add_reader(descriptor, self._once, descriptor, callback)
                    self._watched.append(descriptor)
        except OSError:
            return False
        return shim_fd is not None or main_fd is not None

    def _once(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._loop.remove_reader(descriptor)  # a pidfd stays readable for ever
        callback()

    def later(self, timer: Timer, seconds: float, callback: Callable[[], None]) -> None:
        """Set a timer, instead of the one of that name that is set. What lacks descriptors is tried again."""
        self.cancel(timer)
        self._timers[timer] = self._loop.call_later(seconds, self._fire, timer, callback)

    def _fire(self, timer: Timer, callback: Callable[[], None]) -> None:
        try:
            callback()
        except OSError:
            self.later(timer, RETRY_SECONDS, callback)

    def cancel(self, timer: Timer) -> None:
        """Clear a timer, if it is set."""
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Let go of everything; the processes do not notice."""
        for timer in list(self._timers):
            self.cancel(timer)
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
        self._watched.clear()
        for process in (self.main, self._shim):
            if process is not None:
                process.close()
        self.main = self._shim = None
        if self._shim_pidfd is not None:
            os.close(self._shim_pidfd)
            self._shim_pidfd = None
