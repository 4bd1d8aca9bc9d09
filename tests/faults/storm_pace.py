"""The pace of a storm: it follows what the coordinator comes to, since a kill before anything was done shows little."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.run import Run

WORK = {"spawn", "run", "stop", "kill", "restart"}
WORK_SECONDS = 10.0  # as long as a start or an exit that was ordered may take; then the storm goes on
POLL_SECONDS = 0.02
MOST_SECONDS = 5.0  # of a pause
DONE = "SELECT count(*) FROM events WHERE type IN ('STARTED', 'FAILED', 'ZOMBIE_REAPED', 'LOST')"


class Pace:
    """Waits for work, and for shares of the time that an opening takes."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._opening_seconds = 0.1
        self._done = 0
        self._is_work_due = False

    def opened(self, seconds: float) -> None:
        """A coordinator has opened the home in so many seconds: pauses are as long as the machine is slow."""
        self._opening_seconds = seconds

    def pause(self, share: float) -> None:
        """Sleep for a share of the time of an opening; 1.0 is all of it."""
        time.sleep(min(share * self._opening_seconds, MOST_SECONDS))

    def ordered(self, ask: str) -> None:
        """Something was asked for, from which a start or an exit may come."""
        self._is_work_due |= ask in WORK

    def begin(self) -> None:
        """Orders follow: what was ordered and done until now, as in a recovery, no longer counts."""
        self._is_work_due = False
        self._done = self._count()

    def await_work(self, is_hopeless: Callable[[], bool]) -> None:
        """Return when a start or an exit that was ordered is recorded, can no longer come, or does not for long."""
        deadline = time.monotonic() + WORK_SECONDS
        while self._is_work_due and self._count() <= self._done and not is_hopeless():
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)

    def _count(self) -> int:
        return int(self._run.rows(DONE)[0][0]) if self._run.has_log() else 0
