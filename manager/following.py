"""While a coordinator lives, the projections that follow the log are brought up to it: in a thread, behind all else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from eventstore.errors import OutliveError
from eventstore.store import EventStore
from projections.catchup import catch_up

LOOK_SECONDS = 1.0
MOST_BEHIND = 5_000  # events; with fewer it waits until a look finds nothing new
LAST_SECONDS = 5.0  # at the end, for what is left; whoever reads next goes on where this stopped


class Following:
    """One thread. What goes wrong in it is tried again and told to nobody: a reader that needs the rows tells.

    That is a full disk, or an event that cannot be read.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._position = -1
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outlive-following", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: a reader does it
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def finish(self) -> None:
        """Take in what is left, for a while. Raises nothing."""
        deadline = time.monotonic() + LAST_SECONDS
        self._take_in(lambda: time.monotonic() > deadline)

    def _run(self) -> None:
        seen = -1
        while not self._is_over.wait(LOOK_SECONDS):
            with contextlib.suppress(OutliveError, OSError):
                head = self._store.head().position
                is_quiet, seen = head == seen, head
                if head > self._position and (is_quiet or head - self._position >= MOST_BEHIND):
                    self._take_in(self._is_over.is_set)

    def _take_in(self, is_over: Callable[[], bool]) -> None:
        with contextlib.suppress(OutliveError, OSError, MemoryError):
            self._position = catch_up(self._store, is_over=is_over)
