"""What a shim does when its agent has ended, in this order: write it down durably, give up the lock, reap."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.process import procfs
from manager.process.attempt_lock import holds_main
from tests.support.preloaded import ROOT
from tests.support.processes import Nursery, eventually

_CALL = re.compile(r"(\d+) +(fsync|renameat|close|wait4)\((.*)")


def _steps(trace: Path, record: str) -> Iterator[str]:
    """What the shim that wrote `record` did to files of its home, and whom it reaped."""
    calls = [match.groups() for match in map(_CALL.match, trace.read_text().splitlines()) if match]
    shim = next(pid for pid, call, rest in calls if call == "renameat" and f'"{record}"' in rest)
    for pid, call, rest in calls:
        path = re.match(r"\d+<(.*?)>", rest)
        name = path and re.sub(r".*/agents(/\w{16})?(/1)?", lambda m: "attempt" if m[2] else "above", path[1])
        if pid != shim or (name is None) != (call == "wait4"):
            continue
        if call == "fsync":
            yield f"sync {name}"
        elif (
            call == "renameat"
            and "exec.json" not in rest
            and (named := re.search(r', "(\w+\.json)"\)', rest))
        ):
            yield f"name {named[1]}"
        elif call == "close" and name == "attempt/lock":
            yield "unlock"
        elif call == "wait4":
            yield "reap"


def _durable(record: str) -> list[str]:
    return [f"name {record}", f"sync attempt/{record}", "sync attempt", "sync above", "sync above"]


@pytest.mark.strace
@pytest.mark.parametrize("until", ["main", "tree"])
def test_an_exit_is_durable_before_its_zombie_is_given_up(tmp_path: Path, until: str) -> None:
    """The zombie is the only copy until the record and all names that lead to it are on the disk; only then it goes."""
    trace = tmp_path / "trace"
    script = "exit 7" if until == "main" else "sleep 0.5 & exit 7"
    subprocess.run(
        [
            *("strace", "-f", "-y", "-qq", "-e", "trace=fsync,renameat,close,wait4", "-o", str(trace)),
            *(sys.executable, "-m", "manager.cli.main", "--home", str(tmp_path / "home")),
            *("run", "--until", until, "--", "sh", "-c", script),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OUTLIVE_DISABLE": "rehearsal"},
        timeout=120,
        check=False,
    )
    found = list(_steps(trace, "exit.json"))
    _require(found, [*_durable("exit.json"), "name sweep.json", "unlock", *["reap"] * (until == "main")])
    if until == "tree":
        _require(found, [*_durable("main.json"), "reap"])


def _require(found: list[str], steps: list[str]) -> None:
    """Assert that the steps follow upon each other, from the first one on."""
    first = found.index(steps[0])
    assert found[first : first + len(steps)] == steps


@pytest.mark.parametrize(
    "point", ["before_exit_record", "after_record_synced", "after_exit_record", "after_sweep"]
)
def test_an_attempt_is_locked_until_all_of_it_is_on_disk(tmp_path: Path, point: str) -> None:
    """Whoever finds the lock free takes what is there for all there will be."""
    with Nursery(tmp_path, {"OUTLIVE_STOP": f"shim.{point}"}) as nursery:
        attempt = nursery.launch(["sh", "-c", "exit 7"])
        shim = attempt.launched.shim_pid
        eventually(lambda: (stat := procfs.read_stat(shim)) and stat.state == "T", "the shim is stopped")
        try:
            assert holds_main(str(attempt.path))
            assert (stat := procfs.read_stat(attempt.pid)) is not None
            assert stat.is_ended
        finally:
            os.kill(shim, signal.SIGCONT)
        assert attempt.ended()["code"] == 7
        assert not holds_main(str(attempt.path))
