"""s6: one `s6-supervise` process for each service, told what to do by files and fifos.

Its folders are on a tmpfs: on a disk s6 is measured as two to three times slower than it is. The services are
described before the clock starts, as they would be on a machine where s6 is in use.
"""

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.processes import POLL_SECONDS, SLEEPER, Stuck, child_pids, end_daemon, wait_until_sleeping

TMPFS = Path("/dev/shm")
START_SECONDS = 120.0
STOP_SECONDS = 60.0
# s6-svstat's own file: two 12-byte times, then the pid as 8 bytes big-endian, wait status, flags
STATUS_BYTES = 35
PID_FIELD, EXIT_CODE, FLAGS = slice(24, 32), 32, 34
IS_READY = 8  # the flag of one that is up and says so, or is down and done with `finish`
DEATH_BYTES = 14  # of one entry in `death_tally`


class S6Peer:
    """A private `s6-svscan` over a folder of its own."""

    name = "s6"
    most: int | None = None

    def __init__(self, command: Sequence[str] = SLEEPER, grace_seconds: float | None = None) -> None:
        self._command = command
        self._grace_seconds = grace_seconds
        self._folder: Path | None = None
        self._scanner: subprocess.Popen[bytes] | None = None
        self._sleepers: list[psutil.Process] = []
        self._services: list[Path] = []

    def unavailable(self) -> str | None:
        """A reason unless the programs and a tmpfs are there."""
        if not shutil.which("s6-svscan"):
            return "s6-svscan is not installed (Debian: s6)"
        return None if TMPFS.is_dir() else f"there is no {TMPFS}"

    def version(self) -> str:
        """The Debian package's version; `-` where dpkg does not know it."""
        query = ["dpkg-query", "--show", "--showformat=${Version}", "s6"]
        if not shutil.which("dpkg-query"):
            return "-"
        return (
            subprocess.run(query, capture_output=True, text=True, check=False).stdout.partition("-")[0] or "-"
        )

    def open(self) -> None:
        """Start the scanner over an empty folder."""
        self._folder = Path(tempfile.mkdtemp(prefix="outlive-bench-s6-", dir=TMPFS))
        self._scanner = subprocess.Popen(
            ["s6-svscan", "-c", "8000", "-t", "0", str(self._folder)],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline_at = time.monotonic() + START_SECONDS
        control = self._folder / ".s6-svscan" / "control"
        while not control.exists():
            _check(deadline_at, "s6-svscan made no control fifo")

    def start(self, count: int) -> float:
        """Seconds from the scan to every status file naming a pid that executes the sleeper."""
        self._services = [self._describe(number) for number in range(count)]
        began_at = time.monotonic()
        deadline_at = began_at + START_SECONDS
        subprocess.run(["s6-svscanctl", "-a", str(self._folder)], check=True)
        pids = []
        for service in self._services:
            while (pid := _reported_pid(service)) is None:
                _check(deadline_at, f"{service.name} is not up")
            pids.append(pid)
        wait_until_sleeping(pids, deadline_at)
        seconds = time.monotonic() - began_at
        self._sleepers = [psutil.Process(pid) for pid in pids]
        return seconds

    def run_all(self, count: int) -> float:
        """Seconds from the scan to every status file saying that the command has ended with 0, once and for all."""
        self._services = [self._describe(number, finish="exit 125") for number in range(count)]
        began_at = time.monotonic()
        subprocess.run(["s6-svscanctl", "-a", str(self._folder)], check=True)
        for service in self._services:
            while (code := _exit_code(service)) is None:
                _check(began_at + START_SECONDS, f"{service.name} has not ended")
            assert code == 0, service.name
        return time.monotonic() - began_at

    def pids(self) -> list[int]:
        """The scanner and its supervisors, one for each sleeper."""
        return [] if self._scanner is None else [self._scanner.pid, *child_pids(self._scanner.pid)]

    def stop_all(self) -> float:
        """Seconds until every sleeper is gone, asked by the fifos that `s6-svc -d` writes to."""
        began_at = time.monotonic()
        for service in self._services:
            (service / "supervise" / "control").write_bytes(b"d")
        _wait_gone(self._sleepers, began_at + STOP_SECONDS)
        return time.monotonic() - began_at

    def close(self) -> None:
        """End the scanner, its supervisors and what they run; remove the folder."""
        if self._scanner is not None:
            end_daemon(self._scanner, self._sleepers)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _describe(self, number: int, finish: str | None = None) -> Path:
        if self._folder is None:
            raise Stuck("cannot start: the peer is not open; call open() first")
        service = self._folder / f"sleeper{number:05}"
        service.mkdir()
        for name, line in (("run", f"exec {shlex.join(self._command)}"), ("finish", finish)):
            if line is not None:
                (service / name).write_text(f"#!/bin/sh\n{line}\n", encoding="ascii")
                (service / name).chmod(0o755)
        if self._grace_seconds is not None:
            (service / "timeout-kill").write_text(f"{self._grace_seconds * 1e3:.0f}\n", encoding="ascii")
        return service


def _status(service: Path) -> bytes | None:
    try:
        status = (service / "supervise" / "status").read_bytes()
    except OSError:
        return None
    return status if len(status) == STATUS_BYTES else None


def _reported_pid(service: Path) -> int | None:
    status = _status(service)
    return None if status is None else int.from_bytes(status[PID_FIELD], "big") or None


def _exit_code(service: Path) -> int | None:
    """Of a service that has died and is not to be started again; None before."""
    status = _status(service)
    if status is None or any(status[PID_FIELD]) or not status[FLAGS] & IS_READY:
        return None
    try:
        has_died = (service / "supervise" / "death_tally").stat().st_size >= DEATH_BYTES
    except OSError:
        return None
    return status[EXIT_CODE] if has_died else None


def _wait_gone(processes: list[psutil.Process], deadline_at: float) -> None:
    while any(process.is_running() for process in processes):
        _check(deadline_at, "sleepers are still there")


def _check(deadline_at: float, what: str) -> None:
    if time.monotonic() > deadline_at:
        raise Stuck(f"cannot measure s6: {what}; run s6-svscan by hand to see why")
    time.sleep(POLL_SECONDS)
