"""Power loss while the log is made, appended to and checkpointed: what was acknowledged is there, and whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import OutliveError
from eventstore.store import EventStore
from tests.faults import disk_trace
from tests.faults.crash_images import Image, Recording, spread
from tests.faults.disk_trace import Op
from tests.faults.oracle.log import Row, check_chain, read_rows
from tests.support.histories import new, note
from tests.support.preloaded import ROOT
from tests.support.tally import Tally

SEED = 6
FULL, NORMAL = 2, 1
SIZES = ("40", "3000", "40", "checkpoint", "9000", "40")
PROGRAM = """
import sqlite3, sys
from eventstore import sqlite
from eventstore.store import EventStore
from tests.support.histories import new, note

home, told, synchronous, *sizes = sys.argv[1:]
told = open(told, "ab", buffering=0)
sqlite._PRAGMAS["synchronous"] = int(synchronous)
store = EventStore.open(f"sqlite:///{home}/events.db", home="h", host="x")
version = 0
for size in sizes:
    if size == "checkpoint":
        sqlite3.connect(f"{home}/events.db").execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    else:
        store.append("x/1", [new(note("x" * int(size)))], expected_version=version, epoch=None)
        version += 1
    told.write(b"%d\\n" % version)
store.close()
told.write(b"%d\\n" % version)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory where there is one: the images are made, whatever lies below them."""
    path = Path(
        tempfile.mkdtemp(prefix="outlive-power-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    yield path
    shutil.rmtree(path)


def record(place: Path, synchronous: int, sizes: tuple[str, ...]) -> tuple[Recording, list[Row]]:
    """Run the program on a new log; what it did to the directory, and the rows that the log ended with."""
    home, told, trace = place / "home", place / "told", place / "trace"
    home.mkdir(mode=0o700)
    program = [sys.executable, "-c", PROGRAM, str(home), str(told), str(synchronous), *sizes]
    subprocess.run([*disk_trace.command(trace), *program], cwd=ROOT, check=True, timeout=100)
    made = [Op("mkdir", str(home)), Op("sync", str(place))]
    ops = disk_trace.read(trace, below=home, tells=[str(told)])
    return Recording(home, [*made, *ops], begun=len(made)), read_rows(home / "events.db")


def lost_or_wrong(recording: Recording, image: Image, rows: list[Row], place: Path) -> str | None:
    """Open the image, append to it; what is wrong with it, or None."""
    told = [op.data for op in recording.ops[: image.moment] if op.kind == "tell"]
    acknowledged = max((int(data) for data in told), default=0)
    scratch = Path(tempfile.mkdtemp(prefix="image-", dir=place))
    try:
        recording.build(image, scratch)
        path = scratch / "home" / "events.db"
        with EventStore.open(f"sqlite:///{path}", home="h", host="x") as store:
            found = read_rows(path)
            if found != rows[: len(found)]:
                return "other events than were appended"
            if len(found) < acknowledged:
                return f"{acknowledged} events were acknowledged, {len(found)} are there"
            store.append("x/1", [new(note())], expected_version=len(found), epoch=None)
            violations = list(check_chain(read_rows(path)))
            return str(violations[0]) if violations else None
    except OutliveError as error:
        return f"cannot be opened: {error}"
    finally:
        shutil.rmtree(scratch)


@pytest.mark.strace
@pytest.mark.parametrize("extent", ["a part", pytest.param("all", marks=pytest.mark.faults)])
def test_power_loss_in_the_log(place: Path, tally: Tally, extent: str) -> None:
    """Whatever of the unsynced writes was lost or torn: acknowledged events are there, in a log that goes on."""
    recording, rows = record(place, FULL, SIZES)
    images = list(recording.images())
    chosen = images if extent == "all" else spread(images, 150, SEED)
    distinct = {
        recording.digest(image): image for image in chosen
    }  # of equals the last: most was acknowledged
    wrong = [
        (image, what) for image in distinct.values() if (what := lost_or_wrong(recording, image, rows, place))
    ]
    tally("6 power loss: images of a log", runs=len(chosen), violations=len(wrong), distinct=len(distinct))
    assert not wrong, f"{len(wrong)} of {len(distinct)} images, seed {SEED}: {wrong[0]}"


@pytest.mark.strace
def test_images_tell_a_log_that_is_not_durable(place: Path) -> None:
    """The same images show losses where SQLite is told to leave out the sync of each commit."""
    recording, rows = record(place, NORMAL, SIZES[:3])
    images = spread(list(recording.images()), 150, SEED)
    wrong = {lost_or_wrong(recording, image, rows, place) for image in images}
    assert any(what and "were acknowledged" in what for what in wrong), wrong
