"""A full disk loses no exit: the zombie waits until the record can be written."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import os, subprocess, sys, time
sys.path.append({root!r})
from pathlib import Path
from manager.process import procfs
from tests.support.processes import Nursery, eventually, runs
home = Path({home!r})
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(home)], check=True)

def fill():
    with open(home / "filler", "wb") as file:
        try:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        except OSError:
            pass

with Nursery(home) as nursery:
    attempt = nursery.launch(["sh", "-c", "sleep 0.5; exit 7"])
    attempt.records()
    pid = attempt.pid
    try:
        fill()
    except OSError:
        pass
    eventually(lambda: (stat := procfs.read_stat(pid)) is not None and stat.state == "Z", "the agent is a zombie")
    late = nursery.launch(["touch", str(home.parent / "late")])
    refused = late.records()[-1]
    time.sleep(1.5)  # longer than one retry: still no room, still there
    print(runs(attempt.launched.shim_pid), isinstance(attempt.files.exit, dict), refused["record"], refused["errno"])
    os.unlink(home / "filler")
    print(attempt.ended()["code"])
"""


@pytest.mark.root
def test_an_exit_waits_for_room(tmp_path: Path) -> None:
    """While the disk is full the agent stays a zombie and nothing new starts; with room again its code is recorded."""
    home = tmp_path / "home"
    home.mkdir()
    program = _PROGRAM.format(root=str(_ROOT), home=str(home))
    command = ["unshare", "-m", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=_ROOT)
    if done.returncode != 0 and ("unshare:" in done.stderr or "mount:" in done.stderr):
        pytest.skip(f"needs a mount namespace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False", "refused", "28", "7"]
    assert not (tmp_path / "late").exists()
