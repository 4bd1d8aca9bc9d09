"""The processes that belong to an attempt: by ancestry, by token, by cgroup; and killing them all.

Ancestry below a living shim is exact: every orphan comes to it. Once the shim is dead only the token and the
cgroup are left, and an agent can erase its token, so that the answer says whether it is known to be complete.
"""

import signal
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from eventstore.crashpoints import crash_point
from manager.process import cgroup as cgroups
from manager.process import procfs
from manager.process.features import features
from manager.process.identity import prove_cgroup_member, prove_descendant, prove_token
from manager.process.signalling import ProvenProcess, send_signal


class Killed(NamedTuple):
    """A process that got our SIGKILL."""

    pid: int
    start_ticks: int
    comm: str


class KillResult(NamedTuple):
    """What was killed, and whether the tree is known to be empty now."""

    killed: list[Killed]
    complete: bool


def descendant_pids(root: int) -> list[int]:
    """The PIDs below `root`, zombies included, as far as one look shows: no proof of anything."""
    if not features().proc_children:
        return _descendants_by_parents(root)
    found: list[int] = []
    seen = {root}
    waiting = [root]
    while waiting:
        children = procfs.children_listed(waiting.pop())
        fresh = [pid for pid in children or () if pid not in seen]
        seen.update(fresh)
        found.extend(fresh)
        waiting.extend(fresh)
    return found


def _descendants_by_parents(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in procfs.parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.pop(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def descendants(root: ProvenProcess) -> Iterator[ProvenProcess]:
    """Handles of the living processes below `root`. Here and below each serves until the next one is asked for:
    a tree may have more processes than we may have descriptors.
    """
    return _one_by_one(prove_descendant(root, pid) for pid in descendant_pids(root.pid))


def token_holders(token: str) -> Iterator[ProvenProcess]:
    """Handles of the living processes that carry the attempt's token in their environment."""
    return _one_by_one(prove_token(token, pid) for pid in procfs.all_pids())


def is_marked(agent_id: str, attempt: str) -> bool:
    """Whether a living process carries the marks of an attempt; enough to leave it alone, too little to signal it."""
    marks = {f"OUTLIVE_AGENT_ID={agent_id}".encode(), f"OUTLIVE_ATTEMPT={attempt}".encode()}
    environments = (procfs.read_bytes(f"/proc/{pid}/environ") or b"" for pid in procfs.all_pids())
    return any(marks <= set(environment.split(b"\0")) for environment in environments)


def cgroup_members(path: str) -> Iterator[ProvenProcess]:
    """Handles of the living members of an attempt's cgroup."""
    return _one_by_one(prove_cgroup_member(path, pid) for pid in cgroups.members(path))


def _one_by_one(proofs: Iterable[ProvenProcess | None]) -> Iterator[ProvenProcess]:
    for process in proofs:
        if process is not None:
            with process:
                yield process


def kill_tree(
    root: ProvenProcess | None,
    *,
    token: str | None = None,
    cgroup: str | None = None,
    deadline_seconds: float = 5.0,
) -> KillResult:
    """SIGKILL all below `root` (the shim, itself spared), every holder of `token`, every member of `cgroup`.

    Looks again until two looks in a row find nothing, or for `deadline_seconds`. `complete` is True if the two looks
    were had, and the root lived on to the end as a subreaper or the cgroup was seen to hold the processes (one that
    runs as root may have left it). The emptied cgroup of a lost shim is removed.
    """
    deadline = time.monotonic() + deadline_seconds
    killed: dict[tuple[int, int], Killed] = {}
    empty_looks = 0
    is_in_group = cgroup is not None and bool(cgroups.members(cgroup))
    while empty_looks < 2 and time.monotonic() < deadline:
        is_empty = True
        for process in _members(root, token, cgroup):
            is_empty = False
            stat = procfs.read_stat(process.pid)
            crash_point("coordinator.before_leftover_kill")
            if send_signal(process, signal.SIGKILL):
                comm = stat.comm if stat is not None else ""
                killed[process.pid, process.start_ticks] = Killed(process.pid, process.start_ticks, comm)
            crash_point("coordinator.after_leftover_kill")
        empty_looks = empty_looks + 1 if is_empty else 0
        if not is_empty:
            crash_point("coordinator.after_leftover_kill")
            if cgroup is not None:
                cgroups.kill(cgroup)
                crash_point("coordinator.after_leftover_group_kill")
            time.sleep(0.002)
    is_root_alive = root is not None and not root.has_ended
    if cgroup is not None and not is_root_alive:
        crash_point("coordinator.before_group_removal")
        cgroups.remove(cgroup)
        crash_point("coordinator.after_group_removal")
    is_whole = is_in_group or (is_root_alive and features().subreaper)
    return KillResult(list(killed.values()), empty_looks >= 2 and is_whole)


def _members(root: ProvenProcess | None, token: str | None, cgroup: str | None) -> Iterator[ProvenProcess]:
    """The living processes of the attempt, the root left out; some perhaps twice."""
    found = chain(
        descendants(root) if root is not None else (),
        token_holders(token) if token else (),
        cgroup_members(cgroup) if cgroup is not None else (),
    )
    return (process for process in found if root is None or process.pid != root.pid)
