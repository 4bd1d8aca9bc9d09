"""How much memory an agent may use, as its cgroups and the system say."""

from __future__ import annotations

import os

from manager.memorylimit import memory_limit
from manager.process.procfs import read_bytes

MOUNTS = (
    b"30 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    b"32 31 0:32 /box /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    b"33 31 0:33 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
)


def limit(files: dict[str, bytes], groups: bytes = b"0::/outlive/agent\n") -> int | None:
    """Of process 7, which uses 1,000 bytes."""
    known = {"/proc/7/mountinfo": MOUNTS, "/proc/7/cgroup": groups, **files}
    return memory_limit(7, 1_000, known.get)


def test_the_least_limit_counts() -> None:
    """Of its cgroup and of all above it; `max` is no limit; what the system has left is one."""
    assert limit({}) is None
    own, above = "/sys/fs/cgroup/outlive/agent/memory.max", "/sys/fs/cgroup/outlive/memory.max"
    assert limit({own: b"5000\n", above: b"9000\n"}) == 5_000
    assert limit({own: b"max\n", above: b"9000\n"}) == 9_000
    assert limit({own: b"max\n", "/proc/meminfo": b"MemTotal: 99 kB\nMemAvailable: 2 kB\n"}) == 3_048


def test_version_1_counts_too() -> None:
    """Where the memory controller is in a hierarchy of its own, mounted from below its root."""
    groups = b"4:memory:/box/inner\n1:cpu:/\n0::/\n"
    assert limit({"/sys/fs/cgroup/memory/inner/memory.limit_in_bytes": b"7000\n"}, groups) == 7_000
    assert limit({"/sys/fs/cgroup/memory/memory.limit_in_bytes": b"6000\n"}, groups) == 6_000
    assert limit({}, b"4:memory:/elsewhere\n") is None


def test_this_process_has_a_limit() -> None:
    """On a real system something always tells, and it is more than a process uses."""
    found = memory_limit(os.getpid(), 10_000_000, read_bytes)
    assert found is not None
    assert found > 10_000_000
    assert memory_limit(2**22 + 1, 0, read_bytes)  # a process that is gone: what the system has
