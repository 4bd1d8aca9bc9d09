"""Whom a fault can hit: the launchers, shims and agents of one run, and how to hit them without hitting anybody else.

Launchers and what they fork keep the environment that they were started with, in which TMPDIR names the run's directory
(`variables`); agents have one of their own. A process is opened before it is looked at, and signalled by that handle.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from manager.process import procfs
from tests.faults.run import Run

Role = Literal["coordinator", "command", "launcher", "shim", "gated child", "agent", "descendant"]
OURS: tuple[Role, ...] = ("coordinator", "command", "launcher", "shim")
# What the list of faults calls them: a command that acts is a coordinator, for a moment.
FAULT_TARGETS = {"command": "coordinator", "gated child": "agent", "descendant": "agent"}
CGROUPS = Path("/sys/fs/cgroup/unified")
_OURS_ALONE = b"LD_BIND_NOW=1"
_FREEZE_SECONDS = 5.0
_numbers = itertools.count()

_Found = tuple[Role, str | None, int | None]


@dataclass(frozen=True)
class Target:
    """One process; `agent` and `attempt` where they are known. The pidfd is the holder's to close."""

    role: Role
    pid: int
    pidfd: int
    agent: str | None = None
    attempt: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it executes."""
        stat = procfs.read_stat(self.pid)
        try:
            signal.pidfd_send_signal(self.pidfd, 0)
        except ProcessLookupError:
            return False
        return stat is not None and not stat.is_ended


def variables(run: Run) -> dict[str, str]:
    """What a coordinator must be started with, so that its helpers are found."""
    return {"TMPDIR": str(run.path)}


def helpers(run: Run) -> list[Target]:
    """The run's launchers, shims, and children of shims that have not executed their program yet."""
    mark = f"TMPDIR={run.path}".encode()
    found = (_opened(pid, lambda pid: _helper(pid, mark)) for pid in procfs.all_pids())
    return [target for target in found if target is not None]


def agents(run: Run) -> list[Target]:
    """The living processes that have told of themselves in the run's ledger: main processes and descendants."""
    told: list[tuple[_Found, str, str]] = [
        (("agent", agent, int(attempt)), pid, ticks)
        for agent, attempt, _, pid, ticks, *_ in run.told_by_agents("START")
    ]
    told += [
        (("descendant", agent, int(attempt)), pid, ticks)
        for agent, attempt, pid, ticks, *_ in run.told_by_agents("FORK")
    ]
    found = (_opened(int(pid), partial(_began, int(ticks), who)) for who, pid, ticks in told)
    return [target for target in found if target is not None]


def process(role: Role, pid: int) -> Target | None:
    """A process that its parent has not reaped; None if it is gone."""
    return _opened(pid, lambda _: (role, None, None))


def strike(run: Run, targets: Sequence[Target], *, together: bool = False) -> list[Target]:
    """SIGKILL, each noted before: one after the other, or (`together`) all in one instant; whom it hit alive.

    Closes the handles.
    """
    hit = [target for target in targets if target.is_alive]
    if together:
        hit = _kill_together(run, hit)
    else:
        for target in hit:
            _note(run, target)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(target.pidfd, signal.SIGKILL)
    for target in hit:
        stat = procfs.read_stat(target.pid)
        if target.role == "launcher" and stat is not None and stat.comm == "outlive-shim":
            _note(run, replace(target, role="shim"))  # one that had just been forked, and took its name since
    close(targets)
    return hit


def close(targets: Sequence[Target]) -> None:
    """Give handles back."""
    for target in targets:
        os.close(target.pidfd)


def has_cgroups() -> bool:
    """Whether processes can be gathered in a cgroup of version 2, to be killed in one instant."""
    return os.geteuid() == 0 and os.access(CGROUPS / "cgroup.procs", os.W_OK)


def _opened(pid: int, look: Callable[[int], _Found | None]) -> Target | None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    found = look(pid)
    if found is None:
        os.close(pidfd)
        return None
    return Target(found[0], pid, pidfd, *found[1:])


def _began(start_ticks: int, who: _Found, pid: int) -> _Found | None:
    stat = procfs.read_stat(pid)
    return who if stat is not None and not stat.is_ended and stat.start_ticks == start_ticks else None


def _helper(pid: int, mark: bytes) -> _Found | None:
    stat = procfs.read_stat(pid)
    if stat is None or stat.is_ended or not stat.comm.startswith(("outlive-", "python")):
        return None
    environment = (procfs.read_bytes(f"/proc/{pid}/environ") or b"").split(b"\0")
    if mark not in environment or _OURS_ALONE not in environment:
        return None
    parent = procfs.read_stat(stat.parent)
    above = "" if parent is None else parent.comm
    if stat.comm != "outlive-shim" and above != "outlive-launche":
        return "launcher", None, None
    if above == "outlive-shim":
        return "gated child", None, None
    return ("shim", *_attempt_of(pid))


def _attempt_of(shim: int) -> tuple[str | None, int | None]:
    """The attempt whose lock a shim holds; nothing before it has taken it."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{shim}/fd"):
            with contextlib.suppress(OSError):
                parts = os.readlink(f"/proc/{shim}/fd/{name}").split("/")
                if parts[-1] == "lock" and parts[-4:-3] == ["agents"]:
                    return parts[-3], int(parts[-2])
    return None, None


def _note(run: Run, target: Target) -> None:
    called = FAULT_TARGETS.get(target.role, target.role)
    run.fault(
        "kill",
        called,
        pid=target.pid,
        agent=target.agent,
        attempt=target.attempt,
        signal=9,
        role=target.role,
    )


def _kill_together(run: Run, targets: Sequence[Target]) -> list[Target]:
    """Gather them in a cgroup, freeze it, note who is in it by then, and end all with one write."""
    by_pid = {target.pid: target for target in targets}
    mark = f"TMPDIR={run.path}".encode()
    with _gathering() as group:
        for target in targets:
            with contextlib.suppress(OSError):  # ended meanwhile
                (group / "cgroup.procs").write_text(str(target.pid))
        (group / "cgroup.freeze").write_text("1")
        deadline = time.monotonic() + _FREEZE_SECONDS
        while "frozen 1" not in (group / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.001)
        hit = []
        for pid in map(int, (group / "cgroup.procs").read_text().split()):
            found = _helper(pid, mark) or ("agent", None, None)  # forked since we looked
            target = by_pid.get(pid) or Target(found[0], pid, -1, *found[1:])
            _note(run, target)
            hit.append(target)
        (group / "cgroup.kill").write_text("1")
    return hit


@contextlib.contextmanager
def _gathering() -> Iterator[Path]:
    group = CGROUPS / f"outlive-blow-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    try:
        yield group
    finally:
        deadline = time.monotonic() + _FREEZE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.001)
