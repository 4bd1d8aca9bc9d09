"""Whom the kernel's log says it has killed, and when: its clock and ours differ."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from manager.process import procfs
from manager.process.kernel_log import _FIRST_PID_NAMESPACE, KernelLog

DAY_SECONDS = 24 * 3600
NOW_SECONDS = 100 * DAY_SECONDS


@pytest.mark.parametrize(
    ("before_seconds", "is_its"), [(0.0, True), (59.0, True), (61.0, None), (2.0 * 3600, None)]
)
def test_an_earlier_process_of_the_same_pid_was_the_one_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_seconds: float, is_its: bool | None
) -> None:
    """100 days after boot a kill of the pid's earlier owner, 2 h before, was taken for that of this process."""
    begun = NOW_SECONDS - 10
    log = tmp_path / "kmsg"
    at = round((begun - before_seconds) * 1e6)
    log.write_text(f"6,1,{at},-;Out of memory: Killed process 7 (eater) total-vm:1kB\n")
    monkeypatch.setattr(procfs, "pid_namespace", lambda: _FIRST_PID_NAMESPACE)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: NOW_SECONDS * 1_000_000_000)
    reader = KernelLog(str(log))
    found = reader.has_killed(7, since_ns=begun * 1_000_000_000, until_ns=NOW_SECONDS * 1_000_000_000)
    reader.close()
    assert found is is_its
