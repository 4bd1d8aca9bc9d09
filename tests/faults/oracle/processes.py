"""The processes that are there now, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process as /proc shows it; `environment` only of those that were asked for."""

    pid: int
    parent: int
    start_ticks: int
    pid_namespace: int
    boot_id: str
    comm: str
    is_zombie: bool
    environment: frozenset[bytes]


def living_processes(*, environment_since: int) -> dict[int, Process]:
    """Every process, zombies included, by pid; the environments of those that began at this tick or later."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    own_namespace = os.stat("/proc/self/ns/pid").st_ino
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text(errors="replace")
        except OSError:
            continue
        head, _, tail = stat.rpartition(")")
        words = tail.split()
        is_young = int(words[19]) >= environment_since
        found[int(name)] = Process(
            pid=int(name),
            parent=int(words[1]),
            start_ticks=int(words[19]),
            pid_namespace=own_namespace,
            boot_id=boot_id,
            comm=head.partition("(")[2],
            is_zombie=words[0] in "ZX",
            environment=frozenset(_read(f"/proc/{name}/environ").split(b"\0")) if is_young else frozenset(),
        )
    return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
