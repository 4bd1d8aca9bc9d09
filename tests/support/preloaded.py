"""Our programs forked from a process that has imported all of them: a tenth of a start's time.

`Preloaded.start` is like `subprocess.Popen`, `Preloaded.run` like `subprocess.run`. The serving process is one thread;
a child of it has its own environment, arguments and standard streams, and nothing else of its parent's. It is asked
over a socket: one JSON document with the descriptors of stdin, stdout, stderr and of a pipe for the exit status.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "manager.cli.main"
PROGRAMS = ("tests.faults.coordinator", "tests.faults.appender", COMMAND)
LATE = ("alembic.command", "alembic.config")  # what a new home imports: its system calls are not ours
LOADED = (
    *PROGRAMS,
    *LATE,
    *(f"manager.cli.{path.stem}" for path in (ROOT / "manager" / "cli").glob("[a-z]*.py")),
)
_SOCKET = 3


class Child:
    """One forked program. `stdin` and `stdout` are pipes, `stderr` is what was given."""

    def __init__(self, pid: int, status: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The return code as subprocess gives it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The return code, once it has been reaped. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            told = os.read(self._status, 64)
            os.close(self._status)
            if not told:
                raise RuntimeError("cannot learn how a program ended: the process that forked it is gone")
            self.returncode = os.waitstatus_to_exitcode(int(told))
        return self.returncode

    def kill(self) -> None:
        """SIGKILL, unless its end is known."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Preloaded:
    """The client's end; the serving process is started at the first call and ends with this one."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | os.PathLike[str] = ROOT,
        stderr: int | None = None,
    ) -> Child:
        """Fork `program`, a module of `PROGRAMS`, as if by `python -m`. `stderr`: a descriptor, default ours."""
        connection = self._connected()
        stdin_reader, stdin_writer = os.pipe()
        stdout_reader, stdout_writer = os.pipe()
        status_reader, status_writer = os.pipe()
        given = [stdin_reader, stdout_writer, 2 if stderr is None else stderr, status_writer]
        request = {"program": program, "arguments": list(arguments), "env": dict(env), "cwd": os.fspath(cwd)}
        try:
            socket.send_fds(connection, [json.dumps(request).encode()], given)
            pid = int(connection.recv(64) or b"0")
        finally:
            for descriptor in (stdin_reader, stdout_writer, status_writer):
                os.close(descriptor)
        if not pid:
            raise RuntimeError("cannot fork a program: the process that holds them is gone")
        return Child(pid, status_reader, os.fdopen(stdin_writer, "wb"), os.fdopen(stdout_reader, "rb"))

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float,
        cwd: str | os.PathLike[str] = ROOT,
        text: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end with the short `text` as its input. Raises subprocess.TimeoutExpired, after SIGKILL."""
        error_reader, error_writer = os.pipe()
        child = self.start(program, arguments, env=env, cwd=cwd, stderr=error_writer)
        os.close(error_writer)
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(text.encode())
        with child.stdout, os.fdopen(error_reader, "rb") as error:
            try:
                printed = _read_all([child.stdout, error], timeout)
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
        return subprocess.CompletedProcess([program, *arguments], code, *printed)

    def close(self) -> None:
        """Let the serving process go; what it has forked runs on."""
        if self._socket is not None and self._server is not None:
            self._socket.close()
            self._server.wait(timeout=30)
            self._socket = self._server = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            self._socket = ours
            atexit.register(self.close)
        return self._socket


preloaded = Preloaded()


def _read_all(streams: Sequence[IO[bytes]], timeout: float) -> list[str]:
    content = {stream.fileno(): b"" for stream in streams}
    left = set(content)
    while left:
        ready = select.select(list(left), [], [], timeout)[0]
        if not ready:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        for descriptor in ready:
            piece = os.read(descriptor, 1 << 16)
            content[descriptor] += piece
            if not piece:
                left.discard(descriptor)
    return [text.decode() for text in content.values()]


def serve(connection: socket.socket) -> None:
    """Fork what is asked for until the other end is closed; tell each end over its own pipe."""
    for name in LOADED:
        importlib.import_module(name)
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}  # pidfd: pid, pipe
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == connection.fileno():
                content, given, _, _ = socket.recv_fds(connection, 1 << 20, 4)
                if not content:
                    return
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(content), given)
                for received in given[:3]:
                    os.close(received)
                pidfd = os.pidfd_open(pid)
                children[pidfd] = pid, given[3]
                poller.register(pidfd, select.POLLIN)
                connection.send(b"%d" % pid)
            else:
                pid, pipe = children.pop(descriptor)
                poller.unregister(descriptor)
                _, status = os.waitpid(pid, 0)
                with contextlib.suppress(BrokenPipeError):
                    os.write(pipe, b"%d" % status)
                os.close(pipe)
                os.close(descriptor)


def _become(request: dict[str, Any], given: list[int]) -> NoReturn:
    """Run the program in this freshly forked process."""
    code = 1
    try:
        for number, descriptor in enumerate(given[:3]):
            os.dup2(descriptor, number)
        os.closerange(3, 1024)
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        os.chdir(request["cwd"])
        sys.argv = [request["program"], *request["arguments"]]
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
        module = sys.modules[request["program"]]
        code = module.main() if request["program"] == COMMAND else module.main(*request["arguments"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening)
