"""circus: one `circusd` that is the parent of all, driven over its ZeroMQ endpoint on a unix socket.

One watcher of N processes, without the pause between starts that its examples have (`warmup_delay`), without streams.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import SLEEPER, Stuck, child_pids, end_daemon, wait_until_sleeping

START_SECONDS = 120.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02

DAEMON = """\
[circus]
endpoint = ipc://{folder}/control
pubsub_endpoint = ipc://{folder}/events
"""


class CircusPeer:
    """A private `circusd` in a folder of its own."""

    name = "circus"
    most: int | None = None

    def __init__(self, command: Sequence[str] = SLEEPER, grace_seconds: float | None = None) -> None:
        self._command = command
        self._grace_seconds = grace_seconds
        self._folder: Path | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._sleepers: list[psutil.Process] = []

    def unavailable(self) -> str | None:
        """A reason unless the package is there."""
        try:
            version("circus")
        except PackageNotFoundError:
            return "circus is not installed (`pip install outlive[bench]`)"
        return None

    def version(self) -> str:
        """The installed package's version."""
        return version("circus")

    def open(self) -> None:
        """Start the daemon without watchers and wait until it answers."""
        from circus.client import CircusClient  # the package is optional

        self._folder = Path(tempfile.mkdtemp(prefix="outlive-bench-circus-"))
        configuration = self._folder / "circus.ini"
        configuration.write_text(DAEMON.format(folder=self._folder), encoding="utf-8")
        self._daemon = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "circus.circusd", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self._folder, start_new_session=True,
        )  # fmt: skip
        self._client = CircusClient(endpoint=f"ipc://{self._folder}/control", timeout=START_SECONDS)
        self._call("numwatchers")  # waits for the endpoint

    def start(self, count: int) -> float:
        """Seconds from the request to the daemon listing each pid and each executing the sleeper."""
        grace = {} if self._grace_seconds is None else {"graceful_timeout": self._grace_seconds}
        options = {"numprocesses": count, "copy_env": True, **grace}
        began_at = time.monotonic()
        deadline_at = began_at + START_SECONDS
        self._call("add", name="sleeper", cmd=shlex.join(self._command), options=options, start=True)
        while len(child_pids(self._daemon_pid())) < count:
            _check(deadline_at, "not every process was started")
        while len(pids := self._call("list", name="sleeper")["pids"]) < count:
            _check(deadline_at, "not every process is listed")
        wait_until_sleeping(pids, deadline_at)
        seconds = time.monotonic() - began_at
        self._sleepers = [psutil.Process(pid) for pid in pids]
        return seconds

    def pids(self) -> list[int]:
        """The daemon."""
        return [] if self._daemon is None else [self._daemon.pid]

    def stop_all(self) -> float:
        """Seconds from the request until every sleeper is gone."""
        began_at = time.monotonic()
        self._call("stop", name="sleeper")
        while any(process.is_running() for process in self._sleepers):
            _check(began_at + STOP_SECONDS, "sleepers are still there")
        return time.monotonic() - began_at

    def close(self) -> None:
        """End the daemon and what it runs; remove the folder."""
        if self._client is not None:
            self._client.stop()
        if self._daemon is not None:
            end_daemon(self._daemon, self._sleepers)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, command: str, **properties: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.send_message(command, **properties)
        if answer["status"] not in ("ok", "active"):
            raise Stuck(f"cannot measure circus: it answers {answer} to {command}; run circusd by hand")
        return answer

    def _daemon_pid(self) -> int:
        if self._daemon is None:
            raise Stuck("cannot use circus: the peer is not open; call open() first")
        return self._daemon.pid


def _check(deadline_at: float, what: str) -> None:
    if time.monotonic() > deadline_at:
        raise Stuck(f"cannot measure circus: {what}; run circusd by hand to see why")
    time.sleep(POLL_SECONDS)
