"""What the kernel says about processes: the same questions for every manager that is measured."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from manager import firstlook

POLL_SECONDS = 0.005
SLEEPER = ("/bin/sleep", "1000000")
# What is ignored stays ignored through an exec: the process is the sleeper, deaf to everything but SIGKILL.
STUBBORN = ("/bin/sh", "-c", f'trap "" TERM INT && exec {" ".join(SLEEPER)}')
END_SECONDS = 30.0


class Stuck(Exception):
    """Something that must happen did not happen by the deadline."""


def runs_sleeper(pid: int) -> bool:
    """Whether the process executes the sleeper by now: before its exec it still shows its parent's command."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return len(words) > 1 and os.path.basename(words[0]) == b"sleep" and words[1] == SLEEPER[1].encode()


def wait_until_sleeping(pids: Iterable[int], deadline_at: float) -> None:
    """Return when every process executes the sleeper. Raises `Stuck` past `deadline_at` (monotonic).

    One after the other, as all must be seen: asking about each again and again would take a core from the manager.
    """
    for pid in pids:
        while not runs_sleeper(pid):
            if time.monotonic() > deadline_at:
                raise Stuck(f"cannot measure: process {pid} does not run the sleeper; look at the peer's log")
            time.sleep(POLL_SECONDS)


def child_pids(pid: int) -> list[int]:
    """The children of the process's main thread: one short read, no burden to the process. Empty when it is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()]
    except OSError:
        return []


def frozen_family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, each stopped before its children were read, so that none is missed."""
    family: list[psutil.Process] = []
    waiting = [pid]
    while waiting:
        try:
            member = psutil.Process(waiting.pop())
            member.suspend()
        except psutil.NoSuchProcess:
            continue
        family.append(member)
        waiting.extend(child_pids(member.pid))
    return family


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional memory of the processes together, in bytes; one that is gone counts nothing."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
    return total


def cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """CPU time of each of these that lives, of all its threads, ended ones too, by the scheduler's own count."""
    found = {pid: firstlook.cpu_seconds(pid) for pid in pids}
    return {pid: seconds for pid, seconds in found.items() if seconds is not None}


def end_daemon(daemon: subprocess.Popen[bytes], others: Iterable[psutil.Process]) -> None:
    """SIGKILL a manager, all that descends from it, and `others`. Raises `Stuck`.

    All are stopped first: what is left of a manager would start again what was killed.
    """
    family = frozen_family(daemon.pid) if daemon.poll() is None else []
    daemon.kill()
    daemon.wait(timeout=END_SECONDS)
    end([*family, *others])


def end(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL what is left of `processes`; psutil's start time keeps a reused pid safe. Raises `Stuck`."""
    left = [process for process in processes if process.is_running()]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(left, timeout=END_SECONDS)
    if alive:
        raise Stuck(
            f"cannot clean up: {[process.pid for process in alive]} outlive SIGKILL; end them by hand"
        )
