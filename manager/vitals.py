"""What living processes use: CPU, memory, threads and processes of whole trees, from two looks at all processes.

On Linux one look reads `/proc/PID/stat` of every process once (11 µs each, where psutil's oneshot takes 68 µs), which
gives every tree exactly, and its CPU clock. Elsewhere, or with OUTLIVE_DISABLE=procfs, psutil does the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eventstore.errors import OutliveError
from manager import firstlook
from manager.limits import Use
from manager.status import NOT_ALIVE, Vitals

LEAST_INTERVAL_SECONDS = 0.05
LEAST_INTERVAL_BY_TICKS_SECONDS = 0.1  # without exact clocks: a tick is 10 ms, a tenth of this
_STATUS_WORDS = {
    b"R": "running",
    b"S": "sleeping",
    b"D": "disk-sleep",
    b"T": "stopped",
    b"t": "tracing-stop",
    b"Z": "zombie",
    b"X": "dead",
    b"I": "idle",
}


class CannotLook(OutliveError):
    """Processes cannot be looked at now, for want of descriptors or memory: nothing is known of them."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"cannot look at the processes: {error.strerror}; raise the limit (ulimit -n), try again"
        )


class Target(NamedTuple):
    """A process to look at. `start_ticks`: as recorded, so that a reused pid shows nothing; None: not recorded.

    `with_command`: its command line, too, which takes half as long again.
    """

    pid: int
    start_ticks: int | None
    shim_pid: int | None = None
    with_command: bool = False


class _Process(NamedTuple):
    parent: int
    status: str
    cpu_seconds: float
    threads: int
    memory_bytes: int
    start_ticks: int | None
    is_shim: bool
    waited_cpu_seconds: float


class _Reading(NamedTuple):
    at: float
    boot_ticks: float
    processes: dict[int, _Process]
    children: dict[int, list[int]]


class Sampler:
    """Looks at processes; keeps earlier looks, so that CPU is what was used since. For one thread.

    Raises `CannotLook`, as all functions here do: for want of descriptors nothing counts as gone.
    """

    def __init__(self) -> None:
        self._looks: list[_Reading] = []
        self._least = _least_interval()

    def sample(self, targets: Sequence[Target]) -> list[Vitals]:
        """The vitals of each target, in order. The first call waits so that two looks are far enough apart for CPU."""
        if not targets:
            return []
        if not self._looks:
            self._looks.append(_read(firstlook.given()))
        missing = self._least - (time.monotonic() - self._looks[0].at)
        if missing > 0:
            time.sleep(missing)
        now = _read()
        before = next(look for look in reversed(self._looks) if now.at - look.at >= self._least)
        # What is younger than the interval may serve the call after the next; of the older ones, the newest.
        younger = [look for look in self._looks if look.at > before.at]
        if not younger or now.at - younger[-1].at > self._least / 4:
            younger.append(now)
        self._looks = [before, *younger]
        return [_vitals(target, before, now) for target in targets]


def uses(targets: Sequence[Target]) -> list[Use | None]:
    """What the tree of each target uses, in order, by one look; None for one of which nothing is there."""
    now = _read()
    return [_use(target, now) for target in targets]


def tree(target: Target) -> list[tuple[int, int, int]]:
    """(pid, parent, depth) of the target and all below it and its shim, parents first; one look."""
    now = _read()
    found: list[tuple[int, int, int]] = []
    waiting = [(pid, 0) for pid in reversed(_roots(target, now))]
    while waiting:
        pid, depth = waiting.pop()
        found.append((pid, now.processes[pid].parent, depth))
        waiting.extend((child, depth + 1) for child in sorted(now.children.get(pid, ()), reverse=True))
    return found


def memory_and_cpu(pid: int) -> tuple[int, float]:
    """Resident bytes and CPU seconds of one process; zeros when it is gone."""
    try:
        seen = firstlook.one(pid)
    except OSError as error:
        raise CannotLook(error) from error
    found = None if seen is None else _parsed(*seen)
    return (0, 0.0) if found is None else (found.memory_bytes, found.cpu_seconds)


def command_line(pid: int) -> tuple[str, ...] | None:
    """The arguments as the process shows them now; None when it is gone or shows none."""
    try:
        descriptor = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY)
        try:
            content = os.read(descriptor, 4096)
            while len(content) % 4096 == 0 and (piece := os.read(descriptor, 1 << 20)):
                content += piece
        finally:
            os.close(descriptor)
    except OSError:
        return _psutil_command_line(pid)
    parts = content.rstrip(b"\0").split(b"\0")
    return tuple(part.decode("utf-8", "replace") for part in parts) if content else None


def _psutil_command_line(pid: int) -> tuple[str, ...] | None:
    import psutil

    try:
        return tuple(psutil.Process(pid).cmdline()) or None
    except psutil.Error:
        return None


def _vitals(target: Target, before: _Reading, now: _Reading) -> Vitals:
    main = now.processes.get(target.pid)
    if (
        main is not None
        and target.start_ticks is not None
        and main.start_ticks not in (None, target.start_ticks)
    ):
        main = None
    members = list(_members(_roots(target, now), now))
    if main is None and not members:
        return NOT_ALIVE
    used = 0.0
    for pid in members:
        earlier, later = before.processes.get(pid), now.processes[pid]
        is_same = earlier is not None and earlier.start_ticks == later.start_ticks
        used += max(0.0, later.cpu_seconds - (earlier.cpu_seconds if earlier and is_same else 0.0))
    interval = now.at - before.at
    if (
        main is not None and main.start_ticks is not None
    ):  # what is younger than the look before used it since its start
        age = (now.boot_ticks - main.start_ticks) / _TICKS
        interval = min(interval, max(LEAST_INTERVAL_SECONDS, age))
    is_alive = main is None or main.status != "zombie"
    return Vitals(
        # Without a first process there are members only where a daemon goes on without it (until=tree).
        is_alive=is_alive,
        is_zombie=not is_alive,
        process_status=None if main is None else main.status,
        cpu_percent=round(100 * used / interval, 1) if interval > 0 else None,
        memory_bytes=sum(now.processes[pid].memory_bytes for pid in members),
        threads=sum(now.processes[pid].threads for pid in members),
        processes=len(members),
        command_line=command_line(target.pid) if target.with_command and is_alive else None,
    )


def _use(target: Target, now: _Reading) -> Use | None:
    members = [now.processes[pid] for pid in _members(_roots(target, now), now)]
    if not members:
        return None
    shim = None if target.shim_pid is None else now.processes.get(target.shim_pid)
    orphans = shim.waited_cpu_seconds if shim is not None and shim.is_shim else 0.0
    return Use(
        memory_bytes=sum(one.memory_bytes for one in members),
        processes=len(members),
        cpu_seconds=orphans + sum(one.cpu_seconds + one.waited_cpu_seconds for one in members),
    )


def _roots(target: Target, now: _Reading) -> list[int]:
    # Everything below the shim belongs to the attempt: it is a subreaper, orphans come to it.
    main = now.processes.get(target.pid)
    is_ours = main is not None and (
        target.start_ticks is None or main.start_ticks in (None, target.start_ticks)
    )
    if is_ours and main is not None and main.parent != target.shim_pid:
        return [target.pid]  # its shim is lost, or it is not ours to know
    if target.shim_pid is not None and is_ours:
        return [target.pid, *(pid for pid in now.children.get(target.shim_pid, ()) if pid != target.pid)]
    shim = None if target.shim_pid is None else now.processes.get(target.shim_pid)
    if shim is not None and shim.is_shim and main is None:
        return list(now.children.get(target.shim_pid or 0, ()))
    return [target.pid] if is_ours else []


def _least_interval() -> float:
    is_exact = firstlook.is_possible() and firstlook.cpu_seconds(os.getpid()) is not None
    return LEAST_INTERVAL_SECONDS if is_exact else LEAST_INTERVAL_BY_TICKS_SECONDS


def _members(roots: Iterable[int], now: _Reading) -> Iterable[int]:
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting.extend(now.children.get(pid, ()))


def _read(look: firstlook.Look | None = None) -> _Reading:
    """A look, or the one that was taken."""
    if look is None and not firstlook.is_possible():
        return _reading(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), _read_psutil())
    try:
        at, since_boot, found = look or firstlook.read()
    except OSError as error:
        raise CannotLook(error) from error
    return _reading(at, since_boot, {pid: _parsed(*seen) for pid, seen in found.items()})


def _reading(at: float, since_boot: float, processes: dict[int, _Process]) -> _Reading:
    children: dict[int, list[int]] = {}
    for pid, found in processes.items():
        children.setdefault(found.parent, []).append(pid)
    return _Reading(at, since_boot * _TICKS, processes, children)


def _parsed(content: bytes, cpu_seconds: float | None) -> _Process:
    fields = content[content.rfind(b")") + 2 :].split(None, 22)  # proc_pid_stat(5), from its third field on
    return _Process(
        int(fields[1]),
        _STATUS_WORDS.get(fields[0], "unknown"),
        (int(fields[11]) + int(fields[12])) / _TICKS if cpu_seconds is None else cpu_seconds,
        int(fields[17]),
        int(fields[21]) * _PAGE,
        int(fields[19]),
        b"(outlive-shim)" in content,
        (int(fields[13]) + int(fields[14])) / _TICKS,
    )


def _read_psutil() -> dict[int, _Process]:
    import psutil

    found = {}
    names = ["ppid", "status", "cpu_times", "num_threads", "memory_info"]
    for process in psutil.process_iter(names, ad_value=None):
        info = process.info
        times, memory = info["cpu_times"], info["memory_info"]
        found[process.pid] = _Process(
            parent=info["ppid"] or 0,
            status=info["status"] or "unknown",
            cpu_seconds=0.0 if times is None else times.user + times.system,
            threads=info["num_threads"] or 0,
            memory_bytes=0 if memory is None else memory.rss,
            start_ticks=None,
            is_shim=False,
            waited_cpu_seconds=0.0 if times is None else times.children_user + times.children_system,
        )
    return found


_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
