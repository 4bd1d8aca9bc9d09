"""Named places where a test can make the running process kill itself.

``OUTLIVE_CRASH=name:N`` SIGKILLs the process that reaches ``crash_point(name)`` for the N-th time;
``name:N:FILE`` makes FILE first, so that a test knows that the point was reached.
Each effect that must survive a crash has a point on both sides. Without the variable a point costs one
comparison. For points of a shim and its child, N counts the shims that one launcher has forked.
"""

import os

POINTS = frozenset(
    {
        "coordinator.after_lock",
        "coordinator.after_epoch",
        "coordinator.before_recovery",
        "coordinator.before_look",
        "coordinator.after_recovery",
        "coordinator.before_commit",
        "coordinator.after_commit",
        "coordinator.before_request",
        "coordinator.after_request",
        "coordinator.before_signal",
        "coordinator.after_signal",
        "coordinator.before_kill",
        "coordinator.after_kill",
        "launcher.started",
        "launcher.before_fork",
        "launcher.after_fork",
        "launcher.before_answer",
        "launcher.after_answer",
        "shim.before_mkdir",
        "shim.after_mkdir",
        "shim.after_spec",
        "shim.after_lock",
        "shim.before_fork",
        "shim.after_fork",
        "shim.after_identity",
        "shim.before_gate",
        "shim.after_gate",
        "shim.before_exec_record",
        "shim.after_exec_record",
        "shim.before_main_record",
        "shim.after_main_record",
        "shim.before_exit_record",
        "shim.exit_written_not_renamed",
        "shim.after_exit_record",
        "shim.after_sweep",
        "shim.before_reap",
        "shim.after_reap",
        "child.started",
        "child.after_gate",
        "child.before_exec",
        "store.before_begin",
        "store.after_begin",
        "store.before_insert",
        "store.after_insert",
        "store.before_commit",
        "store.after_commit",
    }
)

# "" until the environment has been read, None when no crash was asked for.
_armed: str | None = ""
_wanted_hit = 1
_witness = ""
_hits: dict[str, int] = {}
_hits_before_this_process = 0


def crash_point(name: str) -> None:
    """Return at once, or never, when the environment asks for a crash at this point's N-th hit.

    Raises KeyError for a name that is not in ``POINTS``, but only while ``OUTLIVE_CRASH`` is set.
    """
    if _armed is not None:
        _hit(name)


def is_armed() -> bool:
    """Whether the environment asks for a crash."""
    return bool(_arm(os.environ.get("OUTLIVE_CRASH", "")) if _armed == "" else _armed)


def count_from(hits: int) -> None:
    """Count the points of this process as if each had been hit `hits` times before (the k-th shim: k-1)."""
    global _hits_before_this_process
    _hits_before_this_process = hits
    _hits.clear()


def _hit(name: str) -> None:
    if _armed == "" and not _arm(os.environ.get("OUTLIVE_CRASH", "")):
        return
    if name not in POINTS:
        raise KeyError(f"cannot crash at {name!r}: it is not in POINTS; add it to eventstore/crashpoints.py")
    _hits[name] = _hits.get(name, _hits_before_this_process) + 1
    if name == _armed and _hits[name] == _wanted_hit:
        if _witness:
            os.close(os.open(_witness, os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.kill(os.getpid(), 9)
        os._exit(137)  # Only PID 1 of a namespace gets here: it is immune to its own SIGKILL.


def _arm(wanted: str) -> bool:
    global _armed, _wanted_hit, _witness
    name, _, rest = wanted.partition(":")
    count, _, _witness = rest.partition(":")
    _armed = name or None
    _wanted_hit = int(count or 1)
    if _armed is not None and _armed not in POINTS:
        raise KeyError(f"cannot crash at {name!r}: OUTLIVE_CRASH names no known point")
    return _armed is not None
