"""The kernel calls that Python's standard library lacks, by ctypes and ioctl.

ctypes is loaded when the first of them is needed: the launcher does that once, before it forks.
"""

import errno
import fcntl
import os
import resource
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ctypes

_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 23, 24, 47, 4
_COPIES = 5  # that a child makes of its request on its way to exec: text, objects, environment
_CAPABILITY_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
_WAITID_NUMBERS = {"x86_64": 247, "aarch64": 95, "riscv64": 95}  # arch/*/entry/syscalls, asm-generic/unistd.h
_RT_SIGACTION_NUMBERS = {"x86_64": 13, "aarch64": 134, "riscv64": 134}

# _IOWR(0xFF, 11, struct pidfd_info of 64 bytes), include/uapi/linux/pidfd.h
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")

_libc: "ctypes.CDLL | None" = None


class Usage(NamedTuple):
    """What an ended process and its waited-for children used: microseconds and bytes.

    `maxrss_bytes`: None where that is no more than we had ourselves.
    """

    utime_us: int
    stime_us: int
    maxrss_bytes: int | None


def libc() -> "ctypes.CDLL":
    """The C library; loaded once. Raises OSError where ctypes is not usable."""
    global _libc
    if _libc is None:
        try:
            import ctypes
        except ImportError as error:
            raise OSError(f"cannot load ctypes: {error}; install a Python with libffi") from error
        _libc = ctypes.CDLL(None, use_errno=True)
    return _libc


def become_subreaper(wanted: bool = True) -> None:
    """Make this process the parent of every orphan below it, or no longer. Raises OSError when the kernel refuses."""
    if libc().prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) != 0:
        raise OSError("cannot become a subreaper: prctl refused; Linux 3.4 or later is needed")


def bound_capabilities() -> None:
    """Let this process and all that it starts never gain a capability, not by a program's either. Raises OSError."""
    number = 0
    while libc().prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if libc().prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise OSError(errno.EPERM, "the kernel kept the bounding set of capabilities")
        number += 1


def drop_capabilities() -> None:
    """Give up every capability that this process holds or could pass on. Raises OSError."""
    libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)  # before Linux 4.3 there are none
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if libc().capset(header, bytes(24)) != 0:
        raise OSError(errno.EPERM, "the kernel kept capabilities")


def reset_internal_signals() -> None:
    """Undo what glibc's posix_spawn leaves behind: it ignores its own signals 32 and 33, and exec keeps that.

    The library refuses to name them, so the system call is made directly; where we do not know its number, nothing is.
    """
    number = _RT_SIGACTION_NUMBERS.get(os.uname().machine)
    if number is None:
        return
    library = libc()
    import ctypes

    default = ctypes.create_string_buffer(
        32
    )  # struct kernel_sigaction: handler SIG_DFL, no flags, empty mask
    for signum in (32, 33):
        library.syscall(number, signum, default, None, ctypes.c_size_t(8))


def unreaped_usage(pid: int, request_bytes: int) -> Usage | None:
    """What our ended, not yet reaped child used, leaving it a zombie; None where it cannot be had.

    `request_bytes`: of its request, of which it made copies on its way to exec.

    `os.waitid` does not offer the system call's fifth argument, and `os.wait4` would reap.
    """
    number = _WAITID_NUMBERS.get(os.uname().machine)
    if number is None:
        return None
    try:
        library = libc()
        import ctypes
    except OSError:
        return None
    usage = (ctypes.c_long * 36)()
    options = os.WEXITED | os.WNOWAIT | os.WNOHANG
    if library.syscall(number, os.P_PID, pid, None, options, ctypes.byref(usage)) != 0:
        return None
    # The kernel's maximum goes on over exec: it begins with what our child had as a copy of us.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + _COPIES * request_bytes
    most = usage[4] * 1024 if usage[4] * 1024 > before else None
    return Usage(usage[0] * 1_000_000 + usage[1], usage[2] * 1_000_000 + usage[3], most)


def pidfd_info(pidfd: int) -> tuple[bool, int]:
    """Whether the kernel vouches for an exit status, and that wait status (meaningless without the first).

    Before the process is reaped the kernel answers 0 without the EXIT bit: a false success.
    Raises OSError (ENOTTY, EINVAL before Linux 6.13; ESRCH when it no longer knows).
    """
    buffer = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    fields = _PIDFD_INFO.unpack(buffer)
    return bool(fields[0] & _PIDFD_INFO_EXIT), fields[-1]
