"""Whom the kernel has killed for want of memory, by its own log: where no cgroup of the agent's own counts it.

The log (/dev/kmsg) names the process by its number in the first pid namespace, and the time. It may be closed to us,
and old records are overwritten: no record proves nothing.
"""

import os
import re
import time

from manager.process import procfs

_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/uapi/linux/nsfs.h
_KILLED = re.compile(
    rb"[^:]*[Oo]ut of memory[^:]*: Killed process (\d+) \("
)  # mm/oom_kill.c, __oom_kill_process
_RECORD_BYTES = 8192
_SLACK_SECONDS = 1.0
_DRIFT = 0.001  # of the log's clock against the one since boot, at worst
_MOST_SLACK_SECONDS = (
    60.0  # the drift of a good clock in some months; with more, a pid's earlier owner would do
)


def slack_ns(boottime_ns: int) -> int:
    """By how much the log's clock may differ, so long after boot: from 1 s to 60 s. A kill beyond is not told."""
    return round(min(_SLACK_SECONDS * 1e9 + boottime_ns * _DRIFT, _MOST_SLACK_SECONDS * 1e9))


class KernelLog:
    """Reads on from where it was each time it is asked; opened at the first question. For one thread."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._path = path
        self._descriptor: int | None = None
        self._killed: dict[int, list[int]] = {}  # pid: nanoseconds since boot

    def has_killed(self, pid: int, *, since_ns: int, until_ns: int) -> bool | None:
        """True if the kernel killed process `pid` between two times since boot; None when that cannot be seen."""
        if procfs.pid_namespace() != _FIRST_PID_NAMESPACE:
            return None
        try:
            self._read_on()
        except OSError:
            return None
        slack = slack_ns(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        times = self._killed.get(pid, ())
        return True if any(since_ns - slack <= at <= until_ns + slack for at in times) else None

    def close(self) -> None:
        """Let go of the log."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read_on(self) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        while True:
            try:
                record = os.read(self._descriptor, _RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # records were overwritten before we came; the next read goes on behind them
            if not record:
                return
            self._take(record)

    def _take(self, record: bytes) -> None:
        # "priority,sequence,microseconds,flags;message" (Documentation/ABI/testing/dev-kmsg)
        head, _, message = record.partition(b";")
        fields = head.split(b",")
        killed = _KILLED.match(message)
        is_kernels = int(fields[0]) >> 3 == 0  # what others write there is of another facility
        if killed is not None and is_kernels:
            self._killed.setdefault(int(killed[1]), []).append(int(fields[2]) * 1000)
