"""What a shim does with the tree that its agent left behind: kill it, reap it, and say what it was."""

import contextlib
import os
import signal
import time
from typing import Any

from eventstore.crashpoints import crash_point
from manager.process import cgroup, procfs, tree
from manager.process.attempt_dir import canonical, encode_named
from manager.process.features import Features, features
from manager.process.identity import prove_child, prove_descendant, prove_self, prove_session_member
from manager.process.signalling import ProvenProcess, send_group_signal, send_signal

SECONDS = 10.0  # only a process in uninterruptible sleep outlasts SIGKILL by this much
_MAX_LISTED = 100  # of a fork bomb, the first hundred tell enough

_CLEAN = canonical({"record": "sweep", "left": [], "left_count": 0, "complete": True})


def leave_nothing(main: int, group: str | None, name: bytes, features: Features) -> bytes:
    """Leave no process of the agent behind but our unreaped child `main`; a record's line that says what was found.

    `name` is the attempt's, as JSON.
    """
    try:
        if _is_nothing_left(main, group, features):
            return encode_named(_CLEAN, name)
        left = sweep(main, group)
    except OSError:  # out of descriptors or memory: the exit is on disk, and nothing is claimed of the rest
        left = {"left": [], "left_count": 0, "complete": False}
    if group is not None:
        crash_point("shim.before_group_removal")
        cgroup.remove(group)
        crash_point("shim.after_group_removal")
    return encode_named(canonical({"record": "sweep", **left}), name)


def _is_nothing_left(main: int, group: str | None, features: Features) -> bool:
    """Whether it is certain that no process is left below us but our ended, unreaped child `main`; then no cgroup is.

    One look is enough, and it spares nearly every shim the rest of this module. `main` has ended, so that its children
    are ours, and it is the oldest on our list; the kernel goes from it to the next one under the lock that adding one
    takes. A list that ends there says that nobody is left who could add to it. Only as a subreaper, with one thread.
    """
    if not (features.subreaper and features.proc_children):
        return False
    children = procfs.read_bytes("/proc/thread-self/children")
    if children != b"%d " % main and children != b"":
        return False
    if group is None:
        return True
    crash_point("shim.before_empty_group_removal")
    is_removed = cgroup.remove(group)  # the kernel removes none that somebody lives in
    crash_point("shim.after_empty_group_removal")
    return is_removed


def sweep(main: int, group: str | None) -> dict[str, Any]:
    """Kill every process below us but our unreaped child `main`, until two looks in a row find none.

    Returns {"left": [{pid, start_ticks, comm}], "left_count", "complete"}: what was found, and whether the tree is
    known to be empty now. Without a subreaper it never is: what left its session cannot be seen.
    """
    deadline = time.monotonic() + SECONDS
    left: dict[tuple[int, int], str] = {}
    empty_looks = 0
    with prove_self() as ourselves:
        while empty_looks < 2 and time.monotonic() < deadline:
            found = _look(ourselves, main, group)
            empty_looks = 0 if found else empty_looks + 1
            if not found:
                continue
            left.update(_kill(ourselves, found, main))
            if group is not None:
                crash_point("shim.before_group_kill")
                cgroup.kill(group)
                crash_point("shim.after_group_kill")
            _reap_others(main)
            time.sleep(0.001)
    listed = [{"pid": pid, "start_ticks": ticks, "comm": comm} for (pid, ticks), comm in left.items()]
    complete = empty_looks >= 2 and features().subreaper
    return {"left": listed[:_MAX_LISTED], "left_count": len(listed), "complete": complete}


def _look(ourselves: ProvenProcess, main: int, group: str | None) -> list[int]:
    """Everything below us, zombies that are ours to reap included, and the living members of the cgroup."""
    found = set(tree.descendant_pids(ourselves.pid)) | set(cgroup.members(group) if group is not None else ())
    if not features().subreaper:
        found |= _session(main)
    return sorted(found - {main, ourselves.pid})


def _session(main: int) -> set[int]:
    """The living processes of the agent's session; its number is not reused while `main` is not reaped."""
    stats = filter(None, map(procfs.read_stat, procfs.all_pids()))
    return {stat.pid for stat in stats if stat.session == main and not stat.is_ended}


def _kill(ourselves: ProvenProcess, found: list[int], main: int) -> dict[tuple[int, int], str]:
    killed: dict[tuple[int, int], str] = {}
    if not features().subreaper and (leader := prove_child(main)) is not None:
        with leader:
            crash_point("shim.before_session_kill")
            send_group_signal(leader, signal.SIGKILL)
            crash_point("shim.after_session_kill")
    for pid in found:
        process = prove_child(pid) or prove_descendant(ourselves, pid) or prove_session_member(main, pid)
        if process is None:
            continue
        with process:
            stat = procfs.read_stat(pid)
            if stat is not None and not stat.is_ended:
                killed[pid, stat.start_ticks] = stat.comm
            crash_point("shim.before_kill")
            send_signal(process, signal.SIGKILL)
            crash_point("shim.after_kill")
    return killed


def _reap_others(main: int) -> None:
    for pid in procfs.children_listed(os.getpid()) or ():
        if pid != main:
            crash_point("shim.before_leftover_reap")
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            crash_point("shim.after_leftover_reap")
