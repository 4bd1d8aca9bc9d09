"""A cgroup (version 1) of a test's own: limits on the processes in it, gone with the test."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import eventually

MOUNTS = Path("/sys/fs/cgroup")


class Group:
    """The directory of one cgroup."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> str:
        """A file's content."""
        return (self.path / name).read_text().strip()

    def __setitem__(self, name: str, value: object) -> None:
        """Write a file, say `pids.max`."""
        (self.path / name).write_text(f"{value}\n")

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [int(line) for line in self["cgroup.procs"].split()]

    def add(self, pid: int) -> None:
        """Move a process into it."""
        self["cgroup.procs"] = pid

    @property
    def within(self) -> tuple[str, ...]:
        """The beginning of a command line whose rest is run inside."""
        return ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh")


@contextmanager
def group(controller: str) -> Iterator[Group]:
    """A new group; skips the test where it cannot be made. What is still in it at the end is killed."""
    try:
        made = Group(Path(tempfile.mkdtemp(prefix="outlive-test-", dir=MOUNTS / controller)))
    except OSError as error:
        pytest.skip(f"needs a writable cgroup of version 1 with the controller {controller}: {error}")
    try:
        yield made
    finally:
        eventually(lambda: _is_removed(made), f"{made.path} is empty")


def _is_removed(made: Group) -> bool:
    for pid in made.pids:
        os.kill(pid, signal.SIGKILL)
    try:
        made.path.rmdir()
    except OSError:
        return False
    return True
