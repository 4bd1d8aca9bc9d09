"""What /proc says about a process, read in one go and without guessing.

Light on purpose: the launcher and every shim import it.
"""

import os
from typing import NamedTuple

_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC, include/linux/sched.h; cleared before close-on-exec happens


class ProcessStat(NamedTuple):
    """The fields of /proc/PID/stat that we use (proc_pid_stat(5)); `start_ticks` is raw clock ticks since boot."""

    pid: int
    comm: str
    state: str
    parent: int
    pgid: int
    session: int
    flags: int
    start_ticks: int

    @property
    def is_ended(self) -> bool:
        """True for a zombie or a process that is being removed: it executes nothing any more."""
        return self.state in "ZXx"

    @property
    def has_executed(self) -> bool:
        """True once the process has passed an exec since its fork; still readable on an unreaped zombie."""
        return not self.flags & _FORKED_WITHOUT_EXEC


def read_bytes(path: str) -> bytes | None:
    """The whole content of a file of /proc, or None when the process is gone or out of our sight."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError, NotADirectoryError):
        return None
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    except (ProcessLookupError, PermissionError):
        return None
    finally:
        os.close(descriptor)


def read_stat(pid: int) -> ProcessStat | None:
    """The state of process `pid`, zombies included; None when there is none."""
    content = read_bytes(f"/proc/{pid}/stat")
    if not content:
        return None
    # comm may hold spaces and brackets: the last bracket ends it.
    head, _, tail = content.rpartition(b")")
    fields = tail.split()
    return ProcessStat(
        pid=int(head.partition(b" ")[0]),
        comm=head.partition(b"(")[2].decode("utf-8", "replace"),
        state=fields[0].decode(),
        parent=int(fields[1]),
        pgid=int(fields[2]),
        session=int(fields[3]),
        flags=int(fields[6]),
        start_ticks=int(fields[19]),
    )


def boot_id() -> str:
    """The kernel's random id of this boot."""
    content = read_bytes("/proc/sys/kernel/random/boot_id")
    if content is None:
        raise OSError("cannot read the boot id: /proc is not mounted; mount it")
    return content.decode().strip()


def pid_namespace() -> int:
    """The inode of our own pid namespace: the same number means another process in another one."""
    return os.stat("/proc/self/ns/pid").st_ino


def all_pids() -> list[int]:
    """Every process that /proc shows, in no promised order."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children_listed(pid: int) -> list[int] | None:
    """The children of every thread of `pid` by the kernel's own list; None when that list cannot be read.

    The list is exact only for processes that do not end meanwhile (proc_pid_task_children(5)): look again.
    """
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for thread in threads:
        content = read_bytes(f"/proc/{pid}/task/{thread}/children")
        if content is None:
            if read_stat(pid) is None:
                return found
            continue
        found.extend(map(int, content.split()))
    return found


def parents() -> dict[int, int]:
    """Each process's parent, by reading every stat file: for kernels without lists of children."""
    return {pid: stat.parent for pid in all_pids() if (stat := read_stat(pid)) is not None}
