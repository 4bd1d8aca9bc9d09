"""outlive: this very program is the coordinator; the launcher and a shim for each sleeper belong to it.

Its home is on a disk, see `benchmarks/filesystem.py`: durability is part of what is measured. `OutliveOnTmpfs` is
for the comparison with s6, whose folders are on a tmpfs. A start counts as done when each agent is RUNNING in the log
(alive after its window of 0.1 s), which is durable, and was seen executing.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from benchmarks.filesystem import fresh_folder, memory_folder
from benchmarks.processes import SLEEPER, Stuck, end, wait_until_sleeping
from manager.manager import Manager
from manager.spec import AgentSpec
from manager.status import AgentStatus, ExitStatus
from manager.version import VERSION
from manager.view import View
from projections import queries

START_SECONDS = 120.0
GRACE = (30.0, 5.0, 5.0)
ENDED_WELL = ExitStatus(kind="code", code=0)
BATCH = 100  # short runs in one order
TREE_SECONDS = 0.1  # the second stage of a stop, of the same grace
SPEC = AgentSpec(command=SLEEPER, start_window_seconds=0.1)


class OutlivePeer:
    """A `Manager` on a home of its own."""

    name = "outlive"
    most: int | None = None
    make_folder: Callable[[], contextlib.AbstractContextManager[Path]] = staticmethod(fresh_folder)

    def __init__(self, command: Sequence[str] = SLEEPER, grace_seconds: float | None = None) -> None:
        self._spec = SPEC.model_copy(update={"command": tuple(command)})
        self._grace = GRACE if grace_seconds is None else (grace_seconds - TREE_SECONDS, TREE_SECONDS, 5.0)
        self.manager: Manager | None = None
        self._place = contextlib.ExitStack()
        self._folder: Path | None = None
        self._family: list[psutil.Process] = []

    def unavailable(self) -> str | None:
        """Always available."""
        return None

    def version(self) -> str:
        """Its version."""
        return VERSION

    @property
    def home(self) -> Path:
        """The home's directory. Raises `Stuck` before `open`."""
        if self._folder is None:
            raise Stuck("cannot use outlive: the peer is not open; call open() first")
        return self._folder / "home"

    def open(self) -> None:
        """A coordinator of an empty home."""
        self._folder = self._place.enter_context(self.make_folder())
        self.manager = Manager.open(self.home, f"sqlite:///{self.home}/events.db")

    def start(self, count: int) -> float:
        """Seconds until every agent is RUNNING in the log and executes the sleeper."""
        began_at = time.monotonic()
        statuses = self._opened().spawn_many([(f"sleeper{number:05}", self._spec) for number in range(count)])
        if any(status.state != "RUNNING" for status in statuses):
            raise Stuck(
                f"cannot measure outlive: {next(s.note for s in statuses if s.state != 'RUNNING')}; look at its home"
            )
        wait_until_sleeping((status.pid for status in statuses if status.pid), began_at + START_SECONDS)
        seconds = time.monotonic() - began_at
        self._family = self._all_processes()
        return seconds

    def run_all(self, count: int) -> float:
        """Seconds for the command `count` times, ordered in batches, until each exit code is in the log: durable."""
        manager = self._opened()
        began_at = time.monotonic()
        ordered: list[AgentStatus] = []
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            ordered += manager.spawn_many(
                [(f"short{number:05}", self._spec) for number in numbers], wait=False
            )
        ended = manager.wait_many(ordered, timeout=START_SECONDS)
        seconds = time.monotonic() - began_at
        wrong = next((status for status in ended if status.exit != ENDED_WELL), None)
        if wrong is not None:
            raise Stuck(
                f"cannot measure outlive: {wrong.name} is {wrong.state}, {wrong.note}; look at its home"
            )
        return seconds

    def pids(self) -> list[int]:
        """The coordinator (this program), the launcher, the shims."""
        own = [process.pid for process in self._family if process.name() != "sleep"]
        return [psutil.Process().pid, *own]

    def stop_all(self) -> float:
        """Seconds until every agent is gone and its end is in the log."""
        began_at = time.monotonic()
        expected = "CANCELLED" if self._grace is GRACE else "KILLED"
        stopped = self._opened().stop_all(grace=self._grace)
        seconds = time.monotonic() - began_at
        if any(status.state != expected for status in stopped):
            raise Stuck("cannot measure outlive: not every agent was stopped; look at its home")
        return seconds

    def close(self) -> None:
        """Kill what is left, end the launcher and the shims, remove the folder."""
        if self._folder is None:
            return
        try:
            if self.manager is not None:
                with contextlib.closing(self.manager):
                    self._family = self._family or self._all_processes()
                    self.manager.kill_all()
        finally:
            end(self._family)
            self._place.close()
            self.manager = self._folder = None

    def _opened(self) -> Manager:
        if self.manager is None:
            raise Stuck("cannot use outlive: the peer is not open; call open() first")
        return self.manager

    @property
    def family(self) -> list[psutil.Process]:
        """Sleepers, shims and launcher, as they were when all had started."""
        return self._family

    def _all_processes(self) -> list[psutil.Process]:
        """Sleepers, shims, and the launcher, which is the shims' parent."""
        with contextlib.closing(View.open(self.home)) as view:
            rows = [] if view.is_empty else queries.agents(view.reader, include_final=False)
        shims = [process for row in rows if row.shim_pid and (process := _process(row.shim_pid))]
        sleepers = [process for row in rows if row.pid and (process := _process(row.pid))]
        launchers = {parent for shim in shims[:1] if (parent := shim.parent()) and parent.pid != 1}
        return [*sleepers, *shims, *launchers]


class OutliveOnTmpfs(OutlivePeer):
    """The same with its home on a tmpfs, where flushing costs nothing and nothing is durable."""

    name = "outlive-tmpfs"
    make_folder = staticmethod(memory_folder)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
