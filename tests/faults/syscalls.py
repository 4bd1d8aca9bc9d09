"""Which system calls are injected, and with which errors: what the manual pages say that each can return."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

# Calls with an effect, or a wait that a kill can end. Others that read, or ask for memory, have nothing to half-do.
KILLED_AT = (
    *("openat", "creat", "close", "read", "write", "pwrite64", "ftruncate", "fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "link", "linkat"),
    *("chmod", "fchmod", "flock", "fcntl", "pipe2", "dup2", "dup3"),
    *("clone", "clone3", "fork", "vfork", "execve", "wait4", "waitid", "setsid", "prctl", "prlimit64"),
    *("umask", "chdir", "rt_sigaction", "kill", "tgkill", "killpg", "pidfd_open", "pidfd_send_signal"),
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "shutdown"),
    *("sendto", "sendmsg", "recvfrom", "recvmsg", "getsockopt", "ioctl"),
    *("epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "poll", "ppoll", "select", "pselect6"),
)

_MADE_LASTING = "pwrite64,fsync,fdatasync,ftruncate,?rename,renameat,?renameat2,linkat"
_OF_DISK = {"pwrite64", "pread64", "fsync", "fdatasync", "ftruncate", "flock", "openat", "newfstatat"}
_DESCRIPTORS = ("EMFILE", "ENFILE", "ENOMEM")
_DISK = ("ENOSPC", "EIO", "EINTR")
_NAMES = ("ENOSPC", "EIO", "ENOMEM")
ERRORS: dict[str, tuple[str, ...]] = {
    "openat": ("EMFILE", "ENFILE", "ENOMEM", "EIO", "EINTR"),
    "read": ("EIO", "EINTR"),
    "pread64": ("EIO", "EINTR"),
    "write": _DISK,
    "pwrite64": _DISK,
    "fsync": _DISK,
    "fdatasync": _DISK,
    "ftruncate": ("EIO", "EINTR", "ENOSPC"),
    "rename": _NAMES,
    "renameat": _NAMES,
    "renameat2": _NAMES,
    "link": _NAMES,
    "linkat": _NAMES,
    "unlink": ("EIO", "ENOMEM"),
    "unlinkat": ("EIO", "ENOMEM"),
    "mkdir": _NAMES,
    "mkdirat": _NAMES,
    "fchmod": ("EIO", "ENOMEM"),
    "chmod": ("EIO", "ENOMEM"),
    "flock": ("EINTR", "ENOLCK"),
    "pipe2": ("EMFILE", "ENFILE"),
    "dup2": ("EINTR", "EMFILE"),
    "dup3": ("EINTR", "EMFILE"),
    "clone": ("EAGAIN", "ENOMEM"),
    "clone3": ("EAGAIN", "ENOMEM"),
    "fork": ("EAGAIN", "ENOMEM"),
    "vfork": ("EAGAIN", "ENOMEM"),
    "execve": ("EAGAIN", "EIO", "EMFILE", "ENOMEM"),
    "wait4": ("EINTR",),
    "waitid": ("EINTR",),
    "chdir": ("EIO", "ENOMEM"),
    "prctl": ("EINVAL",),
    "pidfd_open": _DESCRIPTORS,
    "pidfd_send_signal": ("ENOMEM", "EAGAIN"),
    "socket": (*_DESCRIPTORS, "ENOBUFS"),
    "socketpair": (*_DESCRIPTORS, "ENOBUFS"),
    "connect": ("EAGAIN", "EINTR"),
    "bind": ("ENOMEM", "ENOSPC", "EIO"),
    "accept4": ("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EINTR", "ECONNABORTED"),
    "sendto": ("EAGAIN", "EINTR", "ENOBUFS", "ENOMEM"),
    "sendmsg": ("EAGAIN", "EINTR", "ENOBUFS", "ENOMEM", "ETOOMANYREFS"),
    "recvfrom": ("EAGAIN", "EINTR", "ENOMEM"),
    "recvmsg": ("EAGAIN", "EINTR", "ENOMEM"),
    "epoll_create1": _DESCRIPTORS,
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR",),
    "poll": ("EINTR", "ENOMEM"),
    "newfstatat": ("EIO", "ENOMEM"),
    "fstat": ("EIO", "ENOMEM"),
    "getdents64": ("EIO",),
    "mmap": ("ENOMEM",),
}
# A thread that makes very many calls of one kind reads /proc with them: this many, spread over all, say enough.
MOST_OF_A_KIND = 80


@dataclass(frozen=True)
class Injection:
    """What happens to a process or thread at its `number`-th `call`: SIGKILL, or the error."""

    call: str
    number: int
    error: str | None = None

    def __str__(self) -> str:
        what = "SIGKILL" if self.error is None else self.error
        return f"{what} at {self.call} {self.number}"

    @property
    def is_of_disk(self) -> bool:
        """Whether the error is one that a disk gives, or whoever guards a file on it."""
        return self.error is not None and self.call in _OF_DISK

    @property
    def options(self) -> list[str]:
        """For strace."""
        fault = "signal=KILL" if self.error is None else f"error={self.error}"
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:{fault}:when={self.number}"]


@dataclass(frozen=True)
class ReadOnly:
    """From now on what a process writes through open files (all of them, or `paths`) meets a read-only file system."""

    paths: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """For strace."""
        only = [option for path in self.paths for option in ("-P", path)]
        return [*only, "-e", f"trace={_MADE_LASTING}", "-e", f"inject={_MADE_LASTING}:error=EROFS"]


def kills(calls: Counter[str], *, beyond: int = 0) -> Iterator[Injection]:
    """A kill at every call that was counted, and `beyond`: another time there may be more of a kind."""
    for call in KILLED_AT:
        yield from (Injection(call, number) for number in _numbers(calls[call], beyond))


def errors(calls: Counter[str], *, beyond: int = 0) -> Iterator[Injection]:
    """Each error that it can return at every call that was counted, and `beyond`."""
    for call, names in ERRORS.items():
        for name in names:
            yield from (Injection(call, number, name) for number in _numbers(calls[call], beyond))


def _numbers(count: int, beyond: int) -> list[int]:
    if not count:
        return []
    if count <= MOST_OF_A_KIND:
        return list(range(1, count + beyond + 1))
    return sorted({1 + round(i * (count - 1) / (MOST_OF_A_KIND - 1)) for i in range(MOST_OF_A_KIND)})
