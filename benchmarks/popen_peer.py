"""The floor: plain `subprocess.Popen` from one Python program. Nothing is recorded and nothing survives it."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence

import psutil

from benchmarks.processes import SLEEPER, end, wait_until_sleeping

START_SECONDS = 120.0


class PopenPeer:
    """Starts each sleeper in a session of its own and keeps the `Popen` object. The manager is this very process."""

    name = "popen"
    most: int | None = None

    def __init__(self, command: Sequence[str] = SLEEPER) -> None:
        self._command = command
        self._children: list[subprocess.Popen[bytes]] = []

    def unavailable(self) -> str | None:
        """Always available."""
        return None

    def version(self) -> str:
        """Python's version, which `subprocess` belongs to."""
        return platform.python_version()

    def open(self) -> None:
        """Nothing to start."""

    def start(self, count: int) -> float:
        """Seconds until every sleeper executes."""
        began_at = time.monotonic()
        for _ in range(count):
            self._children.append(
                subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
                )
            )
        wait_until_sleeping((child.pid for child in self._children), began_at + START_SECONDS)
        return time.monotonic() - began_at

    def run_all(self, count: int) -> float:
        """Seconds for the command `count` times, one after the other, by posix_spawn and wait."""
        began_at = time.monotonic()
        for _ in range(count):
            _, status = os.waitpid(os.posix_spawn(self._command[0], list(self._command), os.environ), 0)
            assert status == 0
        return time.monotonic() - began_at

    def pids(self) -> list[int]:
        """The program that measures."""
        return [os.getpid()]

    def stop_all(self) -> float:
        """Seconds from the first SIGTERM to the last exit status."""
        began_at = time.monotonic()
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait(timeout=30)
        self._children.clear()
        return time.monotonic() - began_at

    def close(self) -> None:
        """Kill and reap what a failed run left."""
        end(psutil.Process(child.pid) for child in self._children if child.poll() is None)
        for child in self._children:
            child.wait(timeout=30)
        self._children.clear()
