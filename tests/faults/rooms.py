"""A home on a small file system of its own, which can be filled to the last byte, or made read-only."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.run import Run
from tests.faults.syscalls import ReadOnly
from tests.faults.tracing import Tracer
from tests.support.promises import clean_up

Lack = Literal["bytes", "inodes"]
BLOCK_BYTES = 4096
_LIMITS: dict[Lack, str] = {"bytes": "size=4m", "inodes": "size=16m,nr_inodes=200"}


class Room:
    """The file system that holds a run's home."""

    def __init__(self, run: Run, lack: Lack) -> None:
        self.lack = lack
        self._run = run
        self._filler = run.home / "filler"

    def fill(self, spare: int = 0) -> None:
        """Take all that there is of what it can lack, but for so many blocks or inodes; noted before."""
        self._run.fault("full", "store", lack=self.lack, spare=spare)
        if self.lack == "bytes":
            fill(self._filler, spare)
            return
        self._filler.mkdir(mode=0o700)
        with contextlib.suppress(OSError):
            for number in range(1_000_000):
                (self._filler / str(number)).touch(mode=0o600)
        for name in sorted(os.listdir(self._filler))[:spare]:
            (self._filler / name).unlink()

    def is_full(self) -> bool:
        """Whether nothing is left."""
        left = os.statvfs(self._run.home)
        return 0 in (left.f_bfree, left.f_ffree)

    def empty(self) -> None:
        """Give it back."""
        if self._filler.is_dir():
            shutil.rmtree(self._filler)
        else:
            self._filler.unlink(missing_ok=True)


def fill(filler: Path, spare: int = 0) -> None:
    """Write until not one byte more can be written; then give so many blocks back."""
    filler.touch(mode=0o600)
    with open(filler, "ab", buffering=0) as file:
        for size in (65536, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
        file.truncate(max(0, file.tell() - spare * BLOCK_BYTES))


@contextmanager
def small_home(run: Run, lack: Lack = "bytes") -> Iterator[Room]:
    """Mount it at the place of the run's home; unmounted afterwards. After a failure its files are kept."""
    run.home.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"mode=700,{_LIMITS[lack]}", "tmpfs", str(run.home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs to mount: {done.stderr.strip()}")
    kept = run.path / "kept"
    try:
        yield Room(run, lack)
    except BaseException:
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(run.home, kept, symlinks=True, ignore=shutil.ignore_patterns("filler", "*.sock"))
        raise
    finally:
        clean_up(run.home)
        subprocess.run(["umount", "--lazy", str(run.home)], check=True)
        if kept.exists():
            os.rmdir(run.home)
            kept.rename(run.home)


@contextmanager
def remounted_read_only(run: Run, coordinator: int) -> Iterator[None]:
    """The home of a running coordinator becomes read-only, and is writable again afterwards; noted before.

    The kernel remounts nothing that is open for writing, so files that are opened meanwhile are on a read-only mount,
    and what the coordinator and the shims have open refuses as it would.
    """
    shims = [body["process"]["shim_pid"] for body in run.bodies("STARTED")]
    ours = tuple(str(run.home / name) for name in ("events.db", "events.db-wal", "events.db-shm", "head"))
    with (
        read_only(run),
        Tracer([coordinator], run.path / "refused", ReadOnly(ours), follow=True),
        Tracer(shims, run.path / "refused-to-shims", ReadOnly()),
    ):
        yield


@contextmanager
def read_only(run: Run) -> Iterator[None]:
    """Whoever opens a file of the run's home meanwhile opens it on a read-only mount; noted before."""
    run.fault("read-only", "store")
    done = subprocess.run(
        ["mount", "--bind", run.home, run.home], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"needs to mount: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", run.home], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", run.home], check=True)
