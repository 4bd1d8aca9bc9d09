"""A full, read-only or failing disk: a clear error, nothing acknowledged that is not durable, and then it goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.conftest import Database

ROOT = Path(__file__).parent.parent.parent

IN_A_NAMESPACE = """
import os, subprocess, sys
from pathlib import Path
from eventstore.errors import StoreUnavailable
from eventstore.store import EventStore
from tests.support.histories import new, note

mount = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=True)
store = EventStore.open(f"sqlite:///{mount}/events.db", home="h", host="x")
stored = 0
def fill(size):
    global stored
    try:
        while True:
            store.append("x/1", [new(note("x" * size))], expected_version=stored, epoch=None)
            stored += 1
    except StoreUnavailable as error:
        return str(error)
"""
DISK_FULL = (
    IN_A_NAMESPACE
    + """
ballast = mount / "ballast"
ballast.write_bytes(bytes(400_000))
assert "disk is full" in fill(20_000)
acknowledged, head = stored, store.head()
assert head.position in (acknowledged, acknowledged + 1)
ballast.unlink()
stored = head.position
store.append("x/1", [new(note())], expected_version=stored, epoch=None)
assert store.verify().is_intact and store.head().position == head.position + 1
print("ok")
"""
)
READ_ONLY = (
    IN_A_NAMESPACE
    + """
store.append("x/1", [new(note())], expected_version=0, epoch=None)
store.close()
subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
try:
    store = EventStore.open(f"sqlite:///{mount}/events.db", home="h", host="x")
    store.append("x/1", [new(note())], expected_version=1, epoch=None)
except StoreUnavailable as error:
    assert "read-only" in str(error) or "cannot be opened" in str(error), error
    print("ok")
"""
)


@pytest.mark.root
@pytest.mark.parametrize("program", [DISK_FULL, READ_ONLY], ids=["disk full", "read-only"])
def test_a_full_or_read_only_disk(tmp_path: Path, program: str) -> None:
    """A full or read-only disk is the reason that is given; nothing is lost, and with room again it goes on."""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", program, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"needs mount namespaces: {done.stderr.strip()}")
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr


DISK_ERROR = """
import sys
from eventstore.errors import StoreUnavailable
from eventstore.store import EventStore
from tests.support.histories import new, note

def insist(act):
    for _ in range(5):
        try:
            return act()
        except StoreUnavailable as error:
            assert "disk" in str(error) or "opened" in str(error), error
    raise SystemExit("it did not recover")

store = insist(lambda: EventStore.open(sys.argv[1], home="h", host="x"))
for version in range(5):
    event = new(note(str(version)))
    insist(lambda: store.append("x/1", [event], expected_version=version, epoch=None))
    assert store.head().position == version + 1
assert store.verify().is_intact
print("ok")
"""


@pytest.mark.strace
@pytest.mark.parametrize("when", [1, 2, 4, 7])
@pytest.mark.parametrize("call", ["fdatasync,fsync", "pwrite64"])
def test_a_disk_error_is_survived(database: Database, call: str, when: int) -> None:
    """One write or sync that fails is an error to the caller; the same append again stores each event once."""
    database.open().append("x/0", [], expected_version=0, epoch=None)
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            os.devnull,
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:error=EIO:when={when}",
            sys.executable,
            "-c",
            DISK_ERROR,
            database.url,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr
