"""The launchers and shims of one run, told from those of other runs by a variable that coordinators hand on to them."""

from __future__ import annotations

import os
import resource
from typing import Literal

from manager.process import procfs
from tests.faults.driven import Driven
from tests.faults.run import Run

NAMES = {"launcher": "outlive-launche", "shim": "outlive-shim"}


def marked(run: Run) -> dict[str, str]:
    """Variables for a coordinator whose launchers and shims are to be found."""
    return {"TMPDIR": str(run.path)}


def ours(run: Run, what: Literal["launcher", "shim"]) -> list[int]:
    """The pids of the run's living launchers or shims; a shim's child has its name until it executes its program."""
    mark = f"TMPDIR={run.path}".encode()
    return [
        pid
        for pid in procfs.all_pids()
        if (stat := procfs.read_stat(pid)) is not None
        and stat.comm == NAMES[what]
        and not stat.is_ended
        and mark in (procfs.read_bytes(f"/proc/{pid}/environ") or b"").split(b"\0")
        and ((parent := procfs.read_stat(stat.parent)) is None or parent.comm != NAMES["shim"])
    ]


def limit_descriptors(pid: int, soft: int | None) -> None:
    """Let a process open no descriptor of this number or a higher one; None: as many as it may by its hard limit."""
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if soft is None else soft, hard))


def free_numbers(coordinator: Driven) -> list[int]:
    """The numbers that its next descriptors will have, lowest first."""
    used = {int(name) for name in os.listdir(f"/proc/{coordinator.pid}/fd")}
    return [number for number in range(max(used) + 100) if number not in used]
