"""Small file systems that can be filled to the last block."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.rooms import fill
from tests.support.promises import clean_up

KINDS = {
    "tmpfs": ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"],
    "tmpfs without inodes": ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=60,mode=700", "tmpfs"],
    "ext4": ["mkfs.ext4", "-q", "-b", "1024"],
}


class Disk(NamedTuple):
    """A small file system, and how to take all that is left of it; that gives back how to free it."""

    path: Path
    fill: Callable[[], Callable[[], None]]


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """One of each kind."""
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    command = KINDS[request.param]
    if request.param == "ext4":
        with image.open("wb") as file:
            file.truncate(8 << 20)
        subprocess.run([*command, image], check=False, capture_output=True)
        command = ["mount", "-o", "loop", str(image)]
    done = subprocess.run([*command, place], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    fillers = [place / "filler"]
    if "inodes" in request.param:
        fillers += [place / f"inode {number}" for number in range(60)]

    def take() -> Callable[[], None]:
        fill(fillers[0])
        with contextlib.suppress(OSError):
            for path in fillers[1:]:
                path.touch()
        return give

    def give() -> None:
        for path in fillers:
            path.unlink(missing_ok=True)

    yield Disk(place, take)
    give()  # a test that failed may have left it full, and shims wait for room to write into
    clean_up(place / "home")
    subprocess.run(["umount", "--lazy", str(place)], check=True)
