"""A file system that no earlier run has worn out.

An ext4 without a journal, as some virtual machines have it, does not use an inode again for one to five minutes after
it was deleted, and looks at each such inode anew whenever a file is made (`recently_deleted` in Linux's ext4/ialloc.c).
After a few runs that made and removed ten thousand files, making one cost a millisecond of CPU there instead of 20 µs.
So each run gets an ext4 of its own, with a journal, in a file that is mounted by loop: its flushes still go to the disk
below. That takes root; without, TMPDIR has to do.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

IMAGE_BYTES = 4 * 2**30  # sparse; 1,000 agents need a few megabytes
MKFS_PLACES = "/usr/sbin:/sbin"
TMPFS = Path("/dev/shm")


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder on an ext4 of its own, where root and mkfs make that possible, else in TMPDIR; removed after."""
    outer = Path(tempfile.mkdtemp(prefix="outlive-bench-"))
    inner = outer / "mounted"
    inner.mkdir()
    is_mounted = can_mount() and _mount(outer / "image", inner)
    try:
        yield inner
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(inner)], check=True)
        shutil.rmtree(outer, ignore_errors=True)


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """An empty folder on the tmpfs, where nothing is durable; removed after."""
    folder = Path(tempfile.mkdtemp(prefix="outlive-bench-", dir=TMPFS))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def can_mount() -> bool:
    """Whether a fresh ext4 can be tried."""
    return os.geteuid() == 0 and _mkfs() is not None


def description() -> str:
    """Where `fresh_folder` puts things, for the report."""
    with fresh_folder() as folder:
        is_fresh = os.path.ismount(folder)
        holding = [one for one in psutil.disk_partitions(all=True) if folder.is_relative_to(one.mountpoint)]
    kind = max(holding, key=lambda one: len(one.mountpoint)).fstype
    return (
        f"a fresh {kind} for each run, mounted by loop" if is_fresh else f"{kind} at TMPDIR, as it was found"
    )


def _mount(image: Path, target: Path) -> bool:
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run([_mkfs() or "", "-q", "-F", str(image)], check=True)
    return subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=False).returncode == 0


def _mkfs() -> str | None:
    return shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:{MKFS_PLACES}")
