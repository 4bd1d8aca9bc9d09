"""Pid namespaces of a test's own, where it says which number the next process gets.

`python -m tests.faults.namespace MODULE …` runs a module as the second process of the namespace that it finds itself
in; it is itself the first, and reaps what nobody else does. OUTLIVE_TEST_PIDS=N: its numbers end at N. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tests.support.preloaded import ROOT

LAST_PID = "/proc/sys/kernel/ns_last_pid"
PID_MAX = "/proc/sys/kernel/pid_max"
UNSHARE = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")


def run_in_namespace(
    module: str, arguments: Sequence[str], *, variables: Mapping[str, str] | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module …` to its end in a namespace of its own, which nothing survives."""
    return subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.faults.namespace", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def next_pid(pid: int) -> None:
    """Give the next process of this namespace the number `pid`, or the first free one after it."""
    with open(LAST_PID, "w", encoding="ascii") as file:
        file.write(str(pid - 1))


def has_numbers_of_its_own() -> bool:
    """Whether a namespace has its own largest number; before Linux 6.14 there is one for the whole host."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int(minor)) >= (6, 14)


def main(module: str, *arguments: str) -> NoReturn:
    """Run the module as a child, reap everything, end as it ends."""
    largest = os.environ.pop("OUTLIVE_TEST_PIDS", None)
    if largest is not None:
        Path(PID_MAX).write_text(largest)
    child = os.posix_spawn(sys.executable, [sys.executable, "-m", module, *arguments], os.environ)
    status = None
    while status is None:
        with contextlib.suppress(InterruptedError):
            pid, ended = os.wait()
            status = ended if pid == child else None
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main(*sys.argv[1:])
