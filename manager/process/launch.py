"""The coordinator's side of the launcher: starts it, sends requests, gets descriptors. Only `start` ever blocks.

A request is the object described at `LauncherClient.submit`. Answers come in order of the requests.
"""

import array
import contextlib
import errno
import os
import select
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.crashpoints import crash_point
from manager.process import attempt_dir
from manager.process.frames import encode_request, take_frame

_ROOT = str(Path(__file__).resolve().parents[2])
# The first process leaves at once: what stays is nobody's child here, so the user's own os.wait() never sees it.
# Our root comes last in the path, so that the standard library wins, and -I keeps the current directory out.
_PROGRAM = """import os, sys
try:
    if os.fork(): os._exit(0)
except OSError as error: os._exit(error.errno)
sys.path.append({root!r})
from manager.process.launcher import main
main({descriptor})"""
_DESCRIPTOR = 3
_KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "TMPDIR",
    "OUTLIVE_CRASH",
    "OUTLIVE_STOP",
    "OUTLIVE_DISABLE",
)
_RECEIVE_BYTES = 65536


class LauncherGone(OSError):
    """The launcher has ended. Start another; requests without an answer may or may not have been carried out."""


class Launched(NamedTuple):
    """A shim was forked. The descriptors are the receiver's to close.

    `report_fd` reads the records (`parse_reports`) up to EOF. Both are None when we had no descriptors
    left to receive them (raise RLIMIT_NOFILE), `shim_pidfd` also on a kernel without pidfds: then read the directory.
    """

    request: int
    shim_pid: int
    shim_pidfd: int | None
    report_fd: int | None


class LaunchRefused(NamedTuple):
    """No shim was forked, for the named reason: nothing was started and no directory made."""

    request: int
    phase: str
    errno: int
    message: str


class LauncherClient:
    """A launcher of our own. Not thread-safe: one thread's loop owns it."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._unsent = bytearray()
        self._received = bytearray()
        self._rights: deque[list[int]] = deque()
        self._asked: deque[int] = deque()

    @property
    def is_started(self) -> bool:
        """Whether there is a connection; the launcher at its other end may have left since."""
        return self._connection is not None

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` has something to do once the socket is writable."""
        return bool(self._unsent)

    def start(self) -> None:
        """Start the launcher; takes about 20 ms. Does nothing if there is one.

        Raises OSError when the process cannot be made, LauncherGone when it left at once.
        """
        if self._connection is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                _spawn(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._connection = ours

    def fileno(self) -> int:
        """The socket, for a selector: readable when `receive` has answers. Raises LauncherGone before `start`."""
        return self._connected().fileno()

    def submit(self, request: dict[str, Any]) -> None:
        """Queue a request and send what the socket takes; call `flush` when it is writable again.

        Keys: request (int, comes back in the answer), attempt_dir (absolute; its parent exists), command, cwd (or
        None), env (all of it), umask (or None), user ({uid, gid, groups} or None), until ("main" or "tree"), nofile
        ([soft, hard] or None), rlimits ({name: [soft, hard]}), token, cgroup (bool). All of it, environment included,
        becomes the body of ``spec.json``, for a start of the same again.
        Raises ValueError for more than 4 MiB, LauncherGone when the launcher has left.
        """
        frame = encode_request(request)
        self._connected()
        self._asked.append(request["request"])
        self._unsent += frame
        self.flush()

    def flush(self) -> bool:
        """Send what was queued as far as the socket takes it; True when nothing is left. Raises LauncherGone."""
        connection = self._connected()
        try:
            while self._unsent:
                crash_point("coordinator.before_send")
                sent = connection.send(memoryview(self._unsent)[:_RECEIVE_BYTES])
                crash_point("coordinator.after_send")
                del self._unsent[:sent]
        except BlockingIOError:
            return False
        except OSError as error:
            raise _gone(error) from error
        return True

    def receive(self) -> list[Launched | LaunchRefused]:
        """Every answer that has arrived, without waiting. Raises LauncherGone at the end, after the last answers."""
        is_over = self._read_all()
        answers: list[Launched | LaunchRefused] = []
        while (message := take_frame(self._received)) is not None:
            answers.append(self._answer(message))
        if is_over and not answers:
            raise _gone(None)
        return answers

    def close(self) -> None:
        """Let the launcher go; its shims live on. Descriptors nobody has received are closed. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for descriptors in self._rights:
            for descriptor in descriptors:
                os.close(descriptor)
        self._rights.clear()
        self._asked.clear()
        self._unsent.clear()
        self._received.clear()

    def _connected(self) -> socket.socket:
        if self._connection is None:
            raise _gone(None)
        return self._connection

    def _read_all(self) -> bool:
        connection = self._connected()
        room = socket.CMSG_SPACE(8 * array.array("i").itemsize)
        while True:
            try:
                content, ancillary, flags, _ = connection.recvmsg(
                    _RECEIVE_BYTES, room, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            except OSError:  # out of memory, say: the rest stays in the socket, and it readable
                return False
            # A message with descriptors ends a recvmsg, so each of them is one entry, even one cut short by EMFILE.
            if ancillary or flags & socket.MSG_CTRUNC:
                descriptors = array.array("i")
                for _level, _kind, data in ancillary:
                    descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
                self._rights.append(list(descriptors))
            if not content:
                return True
            self._received += content

    def _answer(self, message: dict[str, Any]) -> Launched | LaunchRefused:
        number = self._asked.popleft()
        if "error" in message:
            error = message["error"]
            return LaunchRefused(number, error["phase"], error["errno"], error["message"])
        descriptors = self._rights.popleft() if self._rights else []
        if len(descriptors) != 1 + message["pidfd"]:
            for descriptor in descriptors:
                os.close(descriptor)
            return Launched(number, message["shim"], None, None)
        pidfd = descriptors[0] if message["pidfd"] else None
        return Launched(number, message["shim"], pidfd, descriptors[-1])


def parse_reports(content: bytes) -> list[dict[str, Any]]:
    """The bodies of the records in what a report pipe has given so far; an unfinished last line is left out.

    Each has "record": "identity", "exec" or "refused". Raises ValueError when a line is damaged.
    """
    return [attempt_dir.decode(line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def _spawn(descriptor: int) -> None:
    # posix_spawn's dup2 onto the same number would leave close-on-exec set on some C libraries.
    high = os.dup(descriptor) if descriptor == _DESCRIPTOR else descriptor
    program = _PROGRAM.format(root=_ROOT, descriptor=_DESCRIPTOR)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, high, _DESCRIPTOR),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    try:
        crash_point("coordinator.before_spawn")
        first = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", program],
            # Symbols bound at the start are bound once, and not in every shim again.
            {
                "LD_BIND_NOW": "1",
                **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            },
            file_actions=actions,
            setsigmask=[],
            setsigdef=[
                number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
            ],
        )
    finally:
        if high != descriptor:
            os.close(high)
    crash_point("coordinator.after_spawn")
    status = 0
    with contextlib.suppress(ChildProcessError):  # the user's own SIGCHLD handler took it
        _, status = os.waitpid(first, 0)
    crash_point("coordinator.after_spawner_reaped")
    code = os.waitstatus_to_exitcode(status)
    if code in (errno.EAGAIN, errno.ENOMEM):
        raise OSError(code, os.strerror(code))
    if status != 0:
        raise LauncherGone(
            f"cannot start the launcher: {sys.executable} left with status {status}; run it by hand"
        )


def _gone(error: OSError | None) -> LauncherGone:
    reason = f": {error.strerror}" if error is not None and error.strerror else ""
    return LauncherGone(f"cannot reach the launcher: it has ended{reason}; start another one")


def wait_readable(client: LauncherClient, timeout_seconds: float) -> bool:
    """Whether answers arrive within the time; sends queued requests meanwhile. For callers without a selector."""
    poller = select.poll()
    wanted = select.POLLIN | (select.POLLOUT if client.has_unsent else 0)
    poller.register(client.fileno(), wanted)
    events = poller.poll(timeout_seconds * 1000)
    if client.has_unsent:
        client.flush()
    return any(state & ~select.POLLOUT for _, state in events)
