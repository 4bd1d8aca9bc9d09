"""The only way this code base signals a process: through a handle whose identity was proved.

A `ProvenProcess` is a held pidfd. The kernel never lets a pidfd mean another process, so that what was
proved stays proved however late the signal is sent. Without pidfds the handle is an unreaped child of our own
(its PID cannot be reused) or psutil's, which compares the creation time right before the signal: a documented race.
"""

import os
import select
import signal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from manager.process import procfs, syscalls
from manager.process.features import features

if TYPE_CHECKING:
    import psutil

_ISSUED_BY_A_PROOF = object()


class ProvenProcess:
    """A process that was proved to be the one meant. Only the functions of `manager.process.identity` make one.

    `pid` and `start_ticks` are for people and records; signals go by the handle. Close it, or use `with`.
    """

    __slots__ = ("_other", "pid", "pidfd", "start_ticks")

    def __init__(
        self,
        key: object,
        pid: int,
        start_ticks: int,
        pidfd: int | None,
        other: "psutil.Process | None" = None,
    ) -> None:
        if key is not _ISSUED_BY_A_PROOF:
            raise TypeError("cannot make a ProvenProcess: only a proof does; call prove(...)")
        self.pid = pid
        self.start_ticks = start_ticks
        self.pidfd = pidfd
        self._other = other

    def __repr__(self) -> str:
        return f"ProvenProcess(pid={self.pid}, start_ticks={self.start_ticks})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the handle back. A second call does nothing."""
        if self.pidfd is not None and self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    @property
    def has_ended(self) -> bool:
        """Whether the process executes nothing any more (a zombie has ended)."""
        if self.pidfd is not None:
            return pidfd_has_ended(self.pidfd)
        stat = procfs.read_stat(self.pid)
        return stat is None or stat.is_ended or stat.start_ticks != self.start_ticks

    def _send(self, signum: int) -> None:
        if self.pidfd is not None:
            signal.pidfd_send_signal(self.pidfd, signum)
        elif self._other is None:  # our own unreaped child: its PID is ours to use
            os.kill(self.pid, signum)
        else:
            self._other.send_signal(signum)


def issue(
    pid: int, start_ticks: int, pidfd: int | None, *, other: "psutil.Process | None" = None
) -> ProvenProcess:
    """The handle of a process that was just proved. Only `manager.process.identity` may call it; a test checks."""
    return ProvenProcess(_ISSUED_BY_A_PROOF, pid, start_ticks, pidfd, other)


def send_signal(process: ProvenProcess, signum: int) -> bool:
    """Signal a proved process; False when it was gone already, or has become somebody else's whom we may not signal.

    A zombie takes a signal and nothing happens. Raises ValueError once the handle is closed.
    """
    if process.pidfd is not None and process.pidfd < 0:
        raise ValueError(f"cannot signal {process!r}: its handle is closed; prove it again")
    try:
        process._send(signum)  # noqa: SLF001 - hidden so that all signals pass here
    except (ProcessLookupError, PermissionError):
        return False
    except Exception as error:
        # psutil's errors are no OSErrors, and its module must not be imported just to name them.
        if type(error).__name__ in ("NoSuchProcess", "AccessDenied"):
            return False
        raise
    return True


def send_group_signal(leader: ProvenProcess, signum: int) -> bool:
    """Signal the process group of our own unreaped child, whose group's number is therefore not reused."""
    try:
        os.killpg(leader.pid, signum)
    except ProcessLookupError:
        return False
    return True


def pidfd_has_ended(pidfd: int) -> bool:
    """Whether the process of a pidfd has ended: it is a zombie, or reaped."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def exit_info(process: ProvenProcess | int) -> int | None:
    """The wait status of a process that was reaped by anybody, through a pidfd held since before (Linux 6.15).

    Takes the handle or a bare pidfd. Decode with os.waitstatus_to_exitcode and os.WCOREDUMP. None: alive, not yet
    reaped (ask again once poll reports POLLHUP), or the kernel cannot say. Never a guess.
    """
    pidfd = process if isinstance(process, int) else process.pidfd
    if pidfd is None or pidfd < 0 or not features().pidfd_info:
        return None
    try:
        is_known, status = syscalls.pidfd_info(pidfd)
    except OSError:
        return None
    return status if is_known else None
