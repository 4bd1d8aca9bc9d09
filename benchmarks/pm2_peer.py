"""pm2: one `God` daemon in Node, driven by its command line, as people do; each command starts a Node of its own.

It stops a few processes at a time and would take a minute for 1,000, so it gets 100 and is compared for each of them.
`make bench` installs it beside the interpreter's packages, for no other use.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import SLEEPER, Stuck, end, frozen_family, wait_until_sleeping

PROGRAM = Path(sys.prefix) / "pm2" / "node_modules" / "pm2"
START_SECONDS = 120.0
STOP_SECONDS = 120.0
POLL_SECONDS = 0.02


class Pm2Peer:
    """A private daemon with a PM2_HOME of its own."""

    name = "pm2"
    most: int | None = 100

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._daemon: psutil.Process | None = None
        self._sleepers: list[psutil.Process] = []

    def unavailable(self) -> str | None:
        """A reason unless Node and the package are there."""
        if not shutil.which("node"):
            return "there is no node"
        return (
            None if PROGRAM.is_dir() else f"pm2 is not installed in {PROGRAM.parents[1].name}/ (`make bench`)"
        )

    def version(self) -> str:
        """The installed package's version."""
        return str(json.loads((PROGRAM / "package.json").read_text(encoding="utf-8"))["version"])

    def open(self) -> None:
        """Start the daemon with nothing to run."""
        self._folder = Path(tempfile.mkdtemp(prefix="outlive-bench-pm2-"))
        self._call("ping")
        self._daemon = psutil.Process(int((self._folder / "pm2.pid").read_text(encoding="ascii")))

    def start(self, count: int) -> float:
        """Seconds from the start of `pm2 start` to `pm2 jlist` showing each online and each executing the sleeper."""
        assert self._folder is not None
        app = {
            "name": "sleeper", "script": SLEEPER[0], "args": SLEEPER[1:], "interpreter": "none", "exec_mode": "fork",
            "instances": count, "out_file": "/dev/null", "error_file": "/dev/null",
        }  # fmt: skip
        described = self._folder / "sleepers.json"
        described.write_text(json.dumps({"apps": [app]}), encoding="utf-8")
        began_at = time.monotonic()
        self._call("start", str(described))
        listed = self._list()
        while len(listed) < count or any(each["pm2_env"]["status"] != "online" for each in listed):
            _check(began_at + START_SECONDS, "not every process is online")
            listed = self._list()
        wait_until_sleeping((each["pid"] for each in listed), began_at + START_SECONDS)
        seconds = time.monotonic() - began_at
        self._sleepers = [psutil.Process(each["pid"]) for each in listed]
        return seconds

    def pids(self) -> list[int]:
        """The daemon."""
        return [] if self._daemon is None else [self._daemon.pid]

    def stop_all(self) -> float:
        """Seconds from the start of `pm2 stop all` until every sleeper is gone."""
        began_at = time.monotonic()
        self._call("stop", "all")
        while any(process.is_running() for process in self._sleepers):
            _check(began_at + STOP_SECONDS, "sleepers are still there")
        return time.monotonic() - began_at

    def close(self) -> None:
        """End the daemon and what it runs; remove the folder."""
        if self._daemon is not None:
            end([*frozen_family(self._daemon.pid), *self._sleepers])
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _list(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self._call("jlist").splitlines()[-1])
        return listed

    def _call(self, *words: str) -> str:
        """What the command prints. Raises `Stuck` when it fails."""
        done = subprocess.run(
            ["node", str(PROGRAM / "bin" / "pm2"), *words],
            env={**os.environ, "PM2_HOME": str(self._folder), "PM2_DISCRETE_MODE": "true"},
            cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Stuck(f"cannot measure pm2: `pm2 {words[0]}` failed: {done.stderr.strip()}; run it by hand")
        return done.stdout


def _check(deadline_at: float, what: str) -> None:
    if time.monotonic() > deadline_at:
        raise Stuck(f"cannot measure pm2: {what}; run it by hand to see why")
    time.sleep(POLL_SECONDS)
