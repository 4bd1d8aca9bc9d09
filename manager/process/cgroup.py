"""An attempt's own cgroup (version 2), where one can be made: membership and cgroup.kill.

Never needed and never an error: every function answers "nothing" where there is no writable hierarchy.
No controller is presumed; hybrid hosts mount a bare version 2 hierarchy beside version 1.
"""

import os
from collections.abc import Callable

_PARENT = "outlive"


def own_directory(read: Callable[[str], bytes | None]) -> str | None:
    """The directory of our own cgroup in the version 2 hierarchy if we may make children there, else None.

    `read` gives a file's bytes; /proc/self/mountinfo and /proc/self/cgroup are asked for.
    """
    mounts, membership = read("/proc/self/mountinfo"), read("/proc/self/cgroup")
    if mounts is None or membership is None:
        return None
    own = next((line[3:] for line in membership.decode().splitlines() if line.startswith("0::")), None)
    mount = next((line.split() for line in mounts.decode().splitlines() if " - cgroup2 " in line), None)
    if own is None or mount is None:
        return None
    # Fields 4 and 5 of mountinfo (proc_pid_mountinfo(5)): the root of the mount within the hierarchy, and its place.
    root, place = mount[3], mount[4]
    relative = own.removeprefix(root) if root != "/" else own
    directory = os.path.normpath(place + "/" + relative)
    return directory if os.access(directory, os.W_OK | os.X_OK) else None


def directory_of(own: str, name: str) -> str:
    """Where `create` makes the cgroup `name`."""
    return f"{own}/{_PARENT}/{name}"


def create(own: str, name: str) -> str | None:
    """Make the cgroup `name` below our own and return its directory; None when that cannot be done."""
    directory = directory_of(own, name)
    try:
        os.mkdir(directory)
    except FileNotFoundError:
        try:
            os.makedirs(directory)
        except OSError:
            return None
    except OSError:
        return None
    return directory


def enter(directory: str) -> bool:
    """Move the calling process into the cgroup; False when it could not be moved."""
    return _write(f"{directory}/cgroup.procs", b"0")


def kill(directory: str) -> bool:
    """SIGKILL every member at once, forks in flight included; False where cgroup.kill is missing (Linux < 5.14)."""
    return _write(f"{directory}/cgroup.kill", b"1")


def members(directory: str) -> list[int]:
    """The processes in the cgroup as it stands, zombies excluded; empty when the cgroup is gone."""
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            return [int(line) for line in file.read().split()]
    except OSError:
        return []


def remove(directory: str) -> bool:
    """Remove the empty cgroup; False when it still has members or is gone."""
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def out_of_memory_kills(directory: str) -> int | None:
    """How many members the kernel killed for want of memory; None where no memory controller counts them."""
    try:
        with open(f"{directory}/memory.events", "rb") as file:
            counts = dict(line.split() for line in file.read().splitlines())
    except OSError:
        return None
    return int(counts[b"oom_kill"]) if b"oom_kill" in counts else None


def _write(path: str, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, content)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
