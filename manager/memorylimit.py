"""How much memory a process may use: what its cgroups allow, and what the system has left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

Read = Callable[[str], bytes | None]


def memory_limit(pid: int, used_bytes: int, read: Read) -> int | None:
    """The least of the limits of its cgroups (version 2 or 1), and what it uses with what the system has available.

    None where nothing tells. `read` gives a file's bytes, or None.
    """
    limits = [
        int(content)
        for content in map(read, _limit_files(pid, read))
        if content and content.strip().isdigit()
    ]
    system = (read("/proc/meminfo") or b"").splitlines()
    limits += [
        used_bytes + int(line.split()[1]) * 1024 for line in system if line.startswith(b"MemAvailable:")
    ]
    return min(limits, default=None)


def _limit_files(pid: int, read: Read) -> Iterator[str]:
    mounts = (read(f"/proc/{pid}/mountinfo") or b"").decode(errors="replace").splitlines()
    for line in (read(f"/proc/{pid}/cgroup") or b"").decode(errors="replace").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            kind, name = " - cgroup2 ", "memory.max"
        elif "memory" in controllers.split(","):
            kind, name = " - cgroup ", "memory.limit_in_bytes"
        else:
            continue
        for mount in mounts:
            # Fields 4 and 5 (proc_pid_mountinfo(5)): the root of the mount within the hierarchy, and its place.
            root, place = mount.split()[3:5]
            is_ours = kind in mount and (number == "0" or "memory" in mount.split()[-1].split(","))
            if is_ours and os.path.commonpath([root, path]) == root:
                yield from (
                    f"{directory}/{name}" for directory in _upwards(place, os.path.relpath(path, root))
                )


def _upwards(place: str, relative: str) -> Iterator[str]:
    directory = os.path.normpath(f"{place}/{relative}")
    while directory.startswith(place):
        yield directory
        directory = os.path.dirname(directory)
        if directory == "/":
            return
