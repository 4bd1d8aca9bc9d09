"""Launching real agents in tests, waiting for what must come, and leaving nothing behind."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from manager.process import procfs
from manager.process.attempt_dir import AttemptFiles
from manager.process.identity import TOKEN_VARIABLE, prove_token
from manager.process.launch import (
    Launched,
    LauncherClient,
    LauncherGone,
    LaunchRefused,
    parse_reports,
    wait_readable,
)
from manager.process.signalling import send_signal

DEADLINE_SECONDS = 30.0  # generous: the tests share two busy cores
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """The first truthy answer of `look`; fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.005)
    return answer


def runs(pid: int) -> bool:
    """Whether a process with this number executes; a zombie does not."""
    stat = procfs.read_stat(pid)
    return stat is not None and not stat.is_ended


class Attempt:
    """One launched attempt: its directory, its shim, and what came over its report pipe."""

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.token = token
        self.answer: Launched | LaunchRefused | None = None
        self.report = b""

    @property
    def files(self) -> AttemptFiles:
        """What is on disk now."""
        return AttemptFiles(str(self.path))

    @property
    def launched(self) -> Launched:
        """The launcher's answer, which must not be a refusal."""
        assert isinstance(self.answer, Launched), self.answer
        return self.answer

    @property
    def pid(self) -> int:
        """The main process's number."""
        identity = self.files.identity
        assert isinstance(identity, dict), identity
        return int(identity["pid"])

    def records(self) -> list[dict[str, Any]]:
        """The report pipe's records, read up to its end."""
        reader = self.launched.report_fd
        assert reader is not None
        os.set_blocking(reader, True)
        while piece := os.read(reader, 65536):
            self.report += piece
        return parse_reports(self.report)

    def ended(self) -> dict[str, Any]:
        """The exit record, once the shim is gone."""
        eventually(lambda: not runs(self.launched.shim_pid), "the shim ends")
        record = self.files.exit
        assert isinstance(record, dict), record
        return record

    def stdout(self) -> str:
        """What the agent has written so far."""
        return (self.path / "stdout.log").read_text(encoding="utf-8")


class Nursery:
    """A launcher and the attempts started through it; ends every process of theirs on leaving."""

    def __init__(self, home: Path, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self.client = LauncherClient()
        self.attempts: list[Attempt] = []
        self._environment = environment or {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        for attempt in self.attempts:
            _end_token(attempt.token)
            if isinstance(attempt.answer, Launched):
                for descriptor in (attempt.answer.shim_pidfd, attempt.answer.report_fd):
                    if descriptor is not None:
                        os.close(descriptor)
                shim = attempt.answer.shim_pid
                eventually(lambda shim=shim: not runs(shim), "the shim leaves when its agent is gone")  # type: ignore[misc]

    def start(self) -> None:
        """Start the launcher with the nursery's own variables (OUTLIVE_CRASH, OUTLIVE_DISABLE) beside ours."""
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            self.client.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def submit(self, command: list[str], **changes: Any) -> Attempt:
        """Ask for one attempt; its answer is not awaited."""
        number = len(self.attempts) + 1
        attempt = Attempt(
            Path(changes.get("attempt_dir", self.home / str(number))), f"{os.getpid()}-{os.urandom(8).hex()}"
        )
        self.attempts.append(attempt)
        request: dict[str, Any] = {
            "request": number,
            "attempt_dir": str(attempt.path),
            "command": command,
            "cwd": None,
            "env": {"PATH": os.environ["PATH"]},
            "umask": 0o022,
            "user": None,
            "until": "main",
            "nofile": None,
            "rlimits": {},
            "token": attempt.token,
            "cgroup": False,
        }
        self.client.submit({**request, **changes})
        return attempt

    def answer(self, attempt: Attempt) -> Launched | LaunchRefused:
        """The launcher's answer to one attempt; answers to others are kept with them."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while attempt.answer is None:
            assert time.monotonic() < deadline, "waited in vain for the launcher's answer"
            if wait_readable(self.client, 1.0):
                for answer in self.client.receive():
                    self.attempts[answer.request - 1].answer = answer
        return attempt.answer

    def launch(self, command: list[str], **changes: Any) -> Attempt:
        """Start one attempt and wait until its shim is forked."""
        attempt = self.submit(command, **changes)
        self.answer(attempt)
        return attempt

    def python(self, program: str, **changes: Any) -> Attempt:
        """Start a Python program as an agent."""
        return self.launch([sys.executable, "-I", "-S", "-c", program], **changes)

    def answer_or_gone(self, attempt: Attempt) -> Launched | LaunchRefused | None:
        """The answer, or None when the launcher died before it gave one."""
        try:
            return self.answer(attempt)
        except LauncherGone:
            return None


def _end_token(token: str) -> None:
    """SIGKILL everything that carries the token, until nothing does."""

    def none_left() -> bool:
        found = [process for pid in procfs.all_pids() if (process := prove_token(token, pid)) is not None]
        for process in found:
            with process, contextlib.suppress(PermissionError):
                send_signal(process, signal.SIGKILL)
        return not found

    eventually(none_left, f"the holders of {TOKEN_VARIABLE}={token} end")
