"""Whether a process is the one that was recorded, and the handles that follow from a proof.

PID, start time and boot id together are **not** unique: with PIDs reused on purpose, 168 of 200 reuses fell
into the same clock tick. What is unique is the pidfd's inode (Linux 6.9), and a PID that its unreaped owner still
occupies. The order is always: open the pidfd, then compare, so that what was compared is what the handle holds.
"""

import enum
import errno
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from manager.process import cgroup, procfs
from manager.process.features import features
from manager.process.signalling import ProvenProcess, issue, pidfd_has_ended

TOKEN_VARIABLE = "OUTLIVE_TOKEN"
_READINGS = 5  # of an ancestry that changes while it is read


class Identity(NamedTuple):
    """What names one process among all that ever were: `start_ticks` is raw, `pidfd_inode` None before Linux 6.9."""

    pid: int
    start_ticks: int
    boot_id: str
    pid_namespace: int
    pidfd_inode: int | None


class Match(enum.Enum):
    """The answer to "is it the same process?". Only SAME may be signalled."""

    SAME = "same"
    DIFFERENT = "different"
    UNCERTAIN = "uncertain"


class Proof(NamedTuple):
    """An answer, the evidence in words, and the handle: not None if and only if the answer is SAME."""

    match: Match
    reason: str
    process: ProvenProcess | None


def agent_identity(record: dict[str, Any]) -> Identity:
    """The agent's main process as an attempt's ``identity.json`` recorded it. Raises KeyError for another record."""
    return Identity(*(record[field] for field in Identity._fields))


def shim_identity(record: dict[str, Any]) -> Identity:
    """The shim as an attempt's ``identity.json`` recorded it."""
    place = (record["boot_id"], record["pid_namespace"])
    return Identity(record["shim_pid"], record["shim_start_ticks"], *place, record["shim_pidfd_inode"])


def identify(pid: int) -> Identity | None:
    """The identity of the process that has `pid` now, zombies included; None when there is none."""
    pidfd = open_pidfd(pid) if features().pidfd else None
    try:
        if pidfd is None and features().pidfd:
            return None
        ticks = procfs.start_ticks(pid)
        if ticks is None:
            return None
        return Identity(pid, ticks, procfs.boot_id(), procfs.pid_namespace(), _inode(pidfd))
    finally:
        if pidfd is not None:
            os.close(pidfd)


def prove(identity: Identity, *, shim_holds_lock: bool | Callable[[], bool]) -> Proof:
    """Whether `identity`'s process is there, a zombie included, and the handle to signal it if it certainly is.

    `shim_holds_lock`: the shim has not reaped the process (see `attempt_lock.holds_main`). Pass the function rather
    than its answer: it is then asked after the handle was opened, which leaves no gap. It is asked only where
    pidfds have no inode of their own. Raises OSError when we lack descriptors.
    """
    if identity.boot_id != procfs.boot_id():
        return Proof(Match.DIFFERENT, "the host was booted again since", None)
    if identity.pid_namespace != procfs.pid_namespace():
        return Proof(Match.DIFFERENT, "recorded in another pid namespace", None)
    gone = Proof(Match.DIFFERENT, f"no process has pid {identity.pid}", None)
    pidfd = open_pidfd(identity.pid) if features().pidfd else None
    if pidfd is None and features().pidfd:
        return gone
    stat = procfs.read_stat(identity.pid)
    if stat is None:
        _close(pidfd)
        return gone
    match, reason = _compare(identity, _inode(pidfd), stat.start_ticks, shim_holds_lock)
    if match is not Match.SAME:
        _close(pidfd)
        return Proof(match, reason, None)
    other = _psutil_process(identity.pid, identity.start_ticks) if pidfd is None else None
    if pidfd is None and other is None:
        return gone
    return Proof(Match.SAME, reason, issue(identity.pid, stat.start_ticks, pidfd, other=other))


def _compare(
    identity: Identity, inode: int | None, start_ticks: int, shim_holds_lock: bool | Callable[[], bool]
) -> tuple[Match, str]:
    if identity.pidfd_inode is not None and inode is not None:
        if identity.pidfd_inode == inode:
            return Match.SAME, "its pidfd has the recorded inode"
        return Match.DIFFERENT, "the pid was reused: its pidfd has another inode"
    if identity.start_ticks != start_ticks:
        return Match.DIFFERENT, "the pid was reused: it started at another time"
    if shim_holds_lock() if callable(shim_holds_lock) else shim_holds_lock:
        return Match.SAME, "same pid and start time, and its shim has not reaped it"
    return Match.UNCERTAIN, "same pid and start time, which a reused pid can have too"


def prove_child(pid: int) -> ProvenProcess | None:
    """The handle of our own child that nobody has reaped; None when `pid` is no such process."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    pidfd = open_pidfd(pid) if features().pidfd else None
    stat = procfs.read_stat(pid)
    if stat is None:
        _close(pidfd)
        return None
    return issue(pid, stat.start_ticks, pidfd)


def prove_descendant(root: ProvenProcess, pid: int) -> ProvenProcess | None:
    """The handle of a living process below `root`, while `root` lives; None when that cannot be shown.

    The ancestry is read twice: a parent that ended in between would have handed its child to another parent, so
    two equal readings mean that every link was there all the time. The handle was opened before both. Two unequal ones
    are followed by others, for what is below a process that ends just now is meant as well.
    """
    pidfd = open_pidfd(pid) if features().pidfd else None
    if pidfd is None and features().pidfd:
        return None
    other = _psutil_process(pid, None) if pidfd is None else None
    ancestry = _steady_ancestry(pid, root.pid)
    is_proved = (
        ancestry is not None
        and not root.has_ended
        and (other is not None if pidfd is None else not pidfd_has_ended(pidfd))
    )
    if not is_proved or ancestry is None:
        _close(pidfd)
        return None
    return issue(pid, ancestry[0][1], pidfd, other=other)


def prove_token(token: str, pid: int) -> ProvenProcess | None:
    """The handle of a living process that carries an attempt's token in its environment; None otherwise.

    An agent can erase its own: absence proves nothing. The token is random, so presence does.
    """
    pidfd = open_pidfd(pid) if features().pidfd else None
    if pidfd is None and features().pidfd:
        return None
    other = _psutil_process(pid, None) if pidfd is None else None
    environment = procfs.read_bytes(f"/proc/{pid}/environ") or b""
    stat = procfs.read_stat(pid)
    is_proved = (
        bool(token)
        and f"{TOKEN_VARIABLE}={token}".encode() in environment.split(b"\0")
        and stat is not None
        and (other is not None if pidfd is None else not pidfd_has_ended(pidfd))
    )
    if not is_proved or stat is None:
        _close(pidfd)
        return None
    return issue(pid, stat.start_ticks, pidfd, other=other)


def prove_self() -> ProvenProcess:
    """The handle of the calling process: the root of its own descendants."""
    pid = os.getpid()
    stat = procfs.read_stat(pid)
    if stat is None:
        raise OSError("cannot see ourselves in /proc: it is not mounted; mount it")
    return issue(pid, stat.start_ticks, open_pidfd(pid) if features().pidfd else None)


def prove_session_member(leader: int, pid: int) -> ProvenProcess | None:
    """The handle of a living process in the session of `leader`, which must be our own unreaped child.

    While a leader is not reaped its session's number means no other session. Needs pidfds; None without.
    """
    return _prove_now(pid, lambda stat: stat.session == leader)


def prove_cgroup_member(directory: str, pid: int) -> ProvenProcess | None:
    """The handle of a living member of an attempt's cgroup. Needs pidfds; None without."""
    return _prove_now(pid, lambda _: pid in cgroup.members(directory))


def _prove_now(pid: int, belongs: Callable[[procfs.ProcessStat], bool]) -> ProvenProcess | None:
    """Open, look, and see that it still lives: then what was looked at is what was opened."""
    pidfd = open_pidfd(pid) if features().pidfd else None
    if pidfd is None:
        return None
    stat = procfs.read_stat(pid)
    if stat is None or not belongs(stat) or pidfd_has_ended(pidfd):
        os.close(pidfd)
        return None
    return issue(pid, stat.start_ticks, pidfd)


def open_pidfd(pid: int) -> int | None:
    """A pidfd (close-on-exec) of the process that has `pid` now; None when there is none. Raises OSError (EMFILE)."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        if error.errno in (
            errno.EINVAL,
            errno.ENOENT,
        ):  # the number is a thread's, by an older or a newer kernel
            return None
        raise


def _inode(pidfd: int | None) -> int | None:
    return os.fstat(pidfd).st_ino if pidfd is not None and features().pidfs else None


def _close(pidfd: int | None) -> None:
    if pidfd is not None:
        os.close(pidfd)


def _steady_ancestry(pid: int, root: int) -> list[tuple[int, int]] | None:
    """The ancestry as two readings in a row show it; None when there is none, or it does not come to rest."""
    before = _ancestry(pid, root)
    for _ in range(_READINGS):
        now = _ancestry(pid, root)
        if now == before:
            return now
        before = now
    return None


def _ancestry(pid: int, root: int) -> list[tuple[int, int]] | None:
    """(pid, start ticks) from `pid` up to below `root`; None when `root` is not above it or one has ended."""
    links: list[tuple[int, int]] = []
    while pid != root:
        stat = procfs.read_stat(pid)
        if stat is None or pid <= 1 or len(links) > 10_000 or (stat.is_ended and not links):
            return None
        links.append((pid, stat.start_ticks))
        pid = stat.parent
    return links or None


def _psutil_process(pid: int, start_ticks: int | None) -> Any:
    """psutil's handle, for kernels without pidfds; None where psutil is absent (the shim) or the process changed."""
    try:
        import psutil
    except ImportError:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    stat = procfs.read_stat(pid)
    if stat is None or (start_ticks is not None and stat.start_ticks != start_ticks):
        return None
    return process
