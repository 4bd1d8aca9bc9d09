"""The first of two looks at all processes, taken before a command loads anything: CPU use is what lies between.

Loads nothing itself. What it read is kept for `manager.vitals`, once.
"""

from __future__ import annotations

import os
import time

Look = tuple[float, float, dict[int, bytes]]

_taken: list[Look] = []


def is_possible() -> bool:
    """Whether processes are looked at by procfs here."""
    return os.path.isdir("/proc/self") and "procfs" not in os.environ.get("OUTLIVE_DISABLE", "").split(",")


def read() -> Look:
    """Seconds of the monotonic clock and of the one since boot, and `/proc/PID/stat` of every process.

    Raises OSError for want of descriptors or memory.
    """
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            content = stat(int(name))
            if content is not None:
                found[int(name)] = content
    return time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), found


def stat(pid: int) -> bytes | None:
    """`/proc/PID/stat`; None where there is no such process, or it is out of our sight. Raises OSError as `read`."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            return os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
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
