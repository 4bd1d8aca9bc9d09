"""What this kernel offers, found once by trying it and not by its version.

Everything works without any of it, with less: see each field. ``OUTLIVE_DISABLE=pidfd,subreaper,…``
switches features off, so that the tests run the fallbacks on a kernel that has them all.
"""

import errno
import os
from typing import NamedTuple

from manager.process import cgroup, procfs, syscalls


class Features(NamedTuple):
    """What the kernel offers, and what is lost without it."""

    pidfd: bool  # handles of processes; without: psutil's creation time, compared right before a signal
    pidfs: bool  # a pidfd's inode is unique for the whole boot; without: the shim's lock vouches
    pidfd_info: bool  # exit status for a non-parent; without: unknown once the shim is lost
    subreaper: bool  # orphans come to the shim; without: process groups, and a tree is never known complete
    proc_children: bool  # lists of children; without: every process's parent is read
    cgroup: str | None  # the directory of our own writable cgroup; None: membership by ancestry alone


_found: Features | None = None


def features() -> Features:
    """The features of this process's kernel, detected on the first call and then remembered."""
    global _found
    if _found is None:
        _found = detect(_disabled())
    return _found


def is_disabled(name: str) -> bool:
    """Whether ``OUTLIVE_DISABLE`` names `name`, which need not be a field of `Features`."""
    return name in _disabled()


def _disabled() -> frozenset[str]:
    return frozenset(os.environ.get("OUTLIVE_DISABLE", "").split(","))


def detect(disabled: frozenset[str]) -> Features:
    """Try each feature that is not in `disabled` (names of the fields of `Features`)."""
    pidfd = "pidfd" not in disabled and _has_pidfd()
    return Features(
        pidfd=pidfd,
        pidfs=pidfd and "pidfs" not in disabled and _has_pidfs(),
        pidfd_info=pidfd and "pidfd_info" not in disabled and _has_pidfd_info(),
        subreaper="subreaper" not in disabled and _has_subreaper(),
        proc_children="proc_children" not in disabled
        and bool(os.path.exists(f"/proc/self/task/{os.getpid()}/children")),
        cgroup=None if "cgroup" in disabled else cgroup.own_directory(procfs.read_bytes),
    )


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except AttributeError:
        return False
    except OSError as error:
        return _lacks(error)
    return True


def _lacks(error: OSError) -> bool:
    """False: the kernel has no such thing. Raises `error` when it only says that there is no room just now."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error
    return False


def _has_pidfs() -> bool:
    # Before pidfs (Linux 6.9) every pidfd shared one anonymous inode with epoll, eventfd and the rest.
    import select

    pidfd = os.pidfd_open(os.getpid())
    try:
        with select.epoll() as anonymous:
            ours, theirs = os.fstat(pidfd), os.fstat(anonymous.fileno())
        return (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)
    finally:
        os.close(pidfd)


def _has_pidfd_info() -> bool:
    pidfd = os.pidfd_open(os.getpid())
    try:
        syscalls.pidfd_info(pidfd)
    except OSError as error:
        return _lacks(error)
    else:
        return True
    finally:
        os.close(pidfd)


def _has_subreaper() -> bool:
    try:
        return hasattr(syscalls.libc(), "prctl")
    except OSError:
        return False
