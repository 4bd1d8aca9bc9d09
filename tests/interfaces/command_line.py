"""The real command, in processes of its own, on a home of its own; nothing is left running."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.preloaded import COMMAND, preloaded

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "manager.cli.main")
DEADLINE_SECONDS = 60.0


@dataclass
class CommandLine:
    """Runs `outlive` on `home` the way a shell does."""

    home: Path
    directory: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(
        self, *arguments: str, stdin: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """One finished command, in a process forked from one that has imported what it needs: see `Preloaded`.

        With variables that an interpreter reads when it starts, in one of its own.
        """
        if any(name.startswith("PYTHON") for name in variables):
            return self._in_a_new_interpreter(arguments, variables)
        return preloaded.run(
            COMMAND,
            arguments,
            env=self.environment(**variables),
            cwd=self.directory,
            text=stdin or "",
            timeout=DEADLINE_SECONDS,
        )

    def _in_a_new_interpreter(
        self, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment(**variables),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """The one document that a successful command prints."""
        done = self(*arguments, "--json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str) -> str:
        """Start an agent and return its id."""
        done = self("run", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """A command that goes on; ended after the test."""
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=self.environment(**variables),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def terminal(self, *arguments: str, **variables: str) -> str:
        """What a command writes to a terminal."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=self.environment(**{"COLUMNS": "200", **variables}),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # EIO: the last writer has closed it
            pass
        finally:
            os.close(ours)
            process.wait(timeout=60)
        return shown.decode()

    def environment(self, **variables: str) -> dict[str, str]:
        """Ours, with the home and the modules under test."""
        return {**os.environ, "OUTLIVE_HOME": str(self.home), "PYTHONPATH": str(ROOT), **variables}


def end_all(home: Path) -> None:
    """SIGKILL to every recorded process of a home that is still the one recorded; its shim sweeps the rest."""
    records = [json.loads(path.read_text())["body"] for path in home.glob("agents/*/*/identity.json")]
    for body in records:
        _end(body["pid"], body["start_ticks"])
    deadline = time.monotonic() + 5
    for body in records:
        while time.monotonic() < deadline and _is_there(body["shim_pid"], body["shim_start_ticks"]):
            time.sleep(0.01)
        _end(body["shim_pid"], body["shim_start_ticks"])


def _end(pid: int, start_ticks: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if _is_there(pid, start_ticks):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _is_there(pid: int, start_ticks: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[19]) == start_ticks


def until(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> Any:
    """The condition's first true answer; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    pytest.fail(f"did not come true within {seconds} s")
