"""The first of two looks at all processes, taken before a command loads anything: CPU use is what lies between.

Loads nothing itself. What it read is kept for `manager.vitals`, once.
"""

from __future__ import annotations

import os
import time

Seen = tuple[bytes, float | None]  # `/proc/PID/stat`, and the CPU seconds of all threads to the nanosecond
Look = tuple[float, float, dict[int, Seen]]

_taken: list[Look] = []


def is_possible() -> bool:
    """Whether processes are looked at by procfs here."""
    return os.path.isdir("/proc/self") and "procfs" not in os.environ.get("OUTLIVE_DISABLE", "").split(",")


def read() -> Look:
    """Seconds of the monotonic clock and of the one since boot, and each process.

    Raises OSError for want of descriptors or memory.
    """
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (seen := one(int(name))) is not None:
            found[int(name)] = seen
    return time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), found


def one(pid: int) -> Seen | None:
    """What is seen of one; None where there is no such process, or it is out of our sight. Raises OSError as `read`."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            return os.read(descriptor, 4096), cpu_seconds(pid)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def cpu_seconds(pid: int) -> float | None:
    """What all threads of a process have used, to the nanosecond, where `stat` counts in ticks of 10 ms.

    None where there is no such process, or no such clock. The number of the clock is clock_getcpuclockid(3)'s, as the
    kernel lays it out: include/linux/posix-timers_types.h, CPUCLOCK_SCHED of a process.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return None


def take() -> None:
    """Look now, for whoever looks next. Does nothing where one cannot."""
    try:
        if is_possible():
            _taken[:] = [read()]
    except OSError:  # it is tried again, and said, when it is needed
        return


def given() -> Look | None:
    """The look that was taken, the first time; then None."""
    return _taken.pop() if _taken else None
