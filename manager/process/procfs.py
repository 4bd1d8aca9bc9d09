"""What /proc says about a process, read in one go and without guessing.

Light on purpose: the launcher and every shim import it.
"""

import os
import time
from typing import NamedTuple

_RETRY_SECONDS = 0.05
_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC, include/linux/sched.h; cleared before close-on-exec happens


_read_once: dict[str, str | int] = {}


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
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        content = os.read(descriptor, 4096)  # one line of numbers, and a name of at most 64 bytes
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    # comm may hold spaces and brackets: the last bracket ends it.
    head, _, tail = content.rpartition(b")")
    number, _, comm = head.partition(b" (")
    fields = tail.split(None, 20)
    return ProcessStat(
        int(number),
        comm.decode("utf-8", "replace"),
        fields[0].decode(),
        parent=int(fields[1]),
        pgid=int(fields[2]),
        session=int(fields[3]),
        flags=int(fields[6]),
        start_ticks=int(fields[19]),
    )


def start_ticks(pid: int) -> int | None:
    """When process `pid` was started, in clock ticks since boot, None when there is none; cheaper than `read_stat`."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        content = os.read(descriptor, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return int(content[content.rindex(b")") + 2 :].split(None, 20)[19])


def has_executed(pid: int) -> bool:
    """`ProcessStat.has_executed` of a process, zombies included; True when there is none. Cheaper than `read_stat`.

    Asked again where the system has no descriptor or memory for the answer: there is no other answer that is true.
    """
    while True:
        try:
            descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return True
        except OSError:
            time.sleep(_RETRY_SECONDS)
            continue
        content = os.read(descriptor, 4096)
        os.close(descriptor)
        break
    flags = int(content[content.rindex(b")") + 2 :].split(None, 7)[6])
    return not flags & _FORKED_WITHOUT_EXEC


def boot_id() -> str:
    """The kernel's random id of this boot; read once, as it lasts longer than we do."""
    if "boot_id" not in _read_once:
        content = read_bytes("/proc/sys/kernel/random/boot_id")
        if content is None:
            raise OSError("cannot read the boot id: /proc is not mounted; mount it")
        _read_once["boot_id"] = content.decode().strip()
    return str(_read_once["boot_id"])


def pid_namespace() -> int:
    """The inode of our own pid namespace: the same number means another process in another one. Read once."""
    if "pid_namespace" not in _read_once:
        _read_once["pid_namespace"] = os.stat("/proc/self/ns/pid").st_ino
    return int(_read_once["pid_namespace"])


def set_name(name: bytes) -> None:
    """Show `name`, of which the kernel keeps 15 bytes, as this process's name in ps and top. Never fails."""
    try:
        descriptor = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, name)
        os.close(descriptor)
    except OSError:
        return


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
