"""A small file system of a test's own, which can be frozen: whoever writes to it then sleeps in the kernel."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MEGABYTES = 8


class Disk:
    """A mounted file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def freeze(self) -> None:
        """From now on who writes to it sleeps, and no signal wakes it."""
        subprocess.run(["fsfreeze", "--freeze", self.path], check=True)

    def thaw(self) -> None:
        """Let them go on. Does nothing where it is not frozen."""
        subprocess.run(["fsfreeze", "--unfreeze", self.path], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def disk() -> Iterator[Disk]:
    """A new one; skips the test where none can be mounted. It is thawed and unmounted at the end."""
    with tempfile.TemporaryDirectory(prefix="outlive-disk-") as directory:
        image, mount = Path(directory) / "image", Path(directory) / "mount"
        mount.mkdir()
        with image.open("wb") as file:
            file.truncate(MEGABYTES << 20)
        for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(mount)]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"needs a loop device and ext4: {done.stderr.strip()}")
        made = Disk(mount)
        try:
            yield made
        finally:
            made.thaw()
            subprocess.run(["umount", "--lazy", mount], check=True)
