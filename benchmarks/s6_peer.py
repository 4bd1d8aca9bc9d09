"""s6: one `s6-supervise` process for each service, told what to do by files and fifos.

Its folders are on a tmpfs: on a disk s6 is measured as two to three times slower than it is. The services are
described before the clock starts, as they would be on a machine where s6 is in use.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.processes import (
    POLL_SECONDS,
    SLEEPER,
    Stuck,
    child_pids,
    end,
    frozen_family,
    pss_bytes,
    wait_until_sleeping,
)

TMPFS = Path("/dev/shm")
START_SECONDS = 120.0
STOP_SECONDS = 60.0
STATUS_BYTES = (
    35  # s6-svstat's own file: two 12-byte times, then the pid as 8 bytes big-endian, wait status, flags
)
PID_FIELD = slice(24, 32)


class S6Peer:
    """A private `s6-svscan` over a folder of its own."""

    name = "s6"

    def __init__(self) -> None:
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

    def pss_bytes(self) -> int:
        """The scanner and its supervisors, one for each sleeper."""
        if self._scanner is None:
            return 0
        return pss_bytes([self._scanner.pid, *child_pids(self._scanner.pid)])

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
            # All are stopped first: the scanner would start a killed supervisor again, and that one its sleeper.
            family = frozen_family(self._scanner.pid) if self._scanner.poll() is None else []
            self._scanner.kill()
            self._scanner.wait(timeout=30)
            end([*family, *self._sleepers])
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _describe(self, number: int) -> Path:
        if self._folder is None:
            raise Stuck("cannot start: the peer is not open; call open() first")
        service = self._folder / f"sleeper{number:05}"
        service.mkdir()
        run = service / "run"
        run.write_text(f"#!/bin/sh\nexec {' '.join(SLEEPER)}\n", encoding="ascii")
        run.chmod(0o755)
        return service


def _reported_pid(service: Path) -> int | None:
    try:
        status = (service / "supervise" / "status").read_bytes()
    except OSError:
        return None
    return (int.from_bytes(status[PID_FIELD], "big") or None) if len(status) == STATUS_BYTES else None


def _wait_gone(processes: list[psutil.Process], deadline_at: float) -> None:
    while any(process.is_running() for process in processes):
        _check(deadline_at, "sleepers are still there")


def _check(deadline_at: float, what: str) -> None:
    if time.monotonic() > deadline_at:
        raise Stuck(f"cannot measure s6: {what}; run s6-svscan by hand to see why")
    time.sleep(POLL_SECONDS)
