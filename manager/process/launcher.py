"""The launcher: a small process that forks one shim for each request of its coordinator.

Theory of operation. One thread, one poll loop. A coordinator starts the launcher over a socketpair; it leaves when
that socket ends, or after a minute without a request. Its shims live on without it. It never runs a program and never
writes a file: all it does for a request is pipe, fork, pidfd_open, answer. SIGCHLD is not ignored, though nothing here
wants an exit status: a shim that the kernel reaped by itself could be gone, and its PID reused, before its pidfd is open.

A forked shim shares this interpreter's pages until it writes to them. So the imports are few, and the garbage
collector is off: a collection writes to every object's header.
"""

import array
import contextlib
import errno
import gc
import os
import select
import signal
import socket
from typing import Any, NoReturn

from eventstore import crashpoints
from eventstore.crashpoints import crash_point
from manager.process import procfs, shim, syscalls
from manager.process.child import Defaults, ignored_signals
from manager.process.features import features
from manager.process.frames import encode_frame, take_frame

IDLE_SECONDS = 60.0  # a new launcher costs 50 ms, an idle one 10 MB
_MAX_UNSENT_ANSWERS = 32  # each holds two descriptors; a coordinator that does not read stops us here
_RECEIVE_BYTES = 256 * 1024


class _Answer:
    """Bytes on their way to the coordinator, and the descriptors that travel with the first of them."""

    __slots__ = ("content", "descriptors")

    def __init__(self, message: dict[str, Any], descriptors: list[int]) -> None:
        self.content = encode_frame(message)
        self.descriptors = descriptors


class Launcher:
    """Serves one coordinator's requests on a connected stream socket."""

    def __init__(self, connection: socket.socket, defaults: Defaults) -> None:
        self._connection = connection
        self._defaults = defaults
        self._received = bytearray()
        self._answers: list[_Answer] = []
        self._forked = 0
        self._wake, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve(self) -> None:
        """Answer requests until the coordinator is gone or has been quiet for `IDLE_SECONDS`."""
        self._connection.setblocking(False)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        crash_point("launcher.started")
        try:
            while self._turn():
                pass
        except (BrokenPipeError, ConnectionResetError):
            return

    def _turn(self) -> bool:
        """One pass of the loop; False when it is time to leave."""
        request = take_frame(self._received) if len(self._answers) < _MAX_UNSENT_ANSWERS else None
        is_full = len(self._answers) >= _MAX_UNSENT_ANSWERS
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        wanted = (0 if is_full else select.POLLIN) | (select.POLLOUT if self._answers else 0)
        poller.register(self._connection, wanted)
        ready = dict(poller.poll(0 if request is not None else IDLE_SECONDS * 1000))
        if not ready and request is None:
            return False
        if self._wake in ready:
            self._reap()
        state = ready.get(self._connection.fileno(), 0)
        if state & (select.POLLHUP | select.POLLERR):
            return False  # what it still asked for is not started: nobody would read the answer
        if request is not None:
            self._launch(request)
        if state & select.POLLOUT or request is not None:
            self._send()
        return self._receive() if state & select.POLLIN and request is None else True

    def _receive(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            piece = self._connection.recv(_RECEIVE_BYTES)
            self._received += piece
            return bool(piece)
        return True

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _launch(self, request: dict[str, Any]) -> None:
        number = request["request"]
        descriptors: list[int] = []
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            descriptors = [reader, writer]
            crash_point("launcher.before_fork")
            pid = os.fork()
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            failure = {"phase": "fork", "errno": error.errno, "message": os.strerror(error.errno or 0)}
            self._answers.append(_Answer({"request": number, "error": failure}, []))
            return
        if pid == 0:
            self._become_shim(request, reader, writer)
        os.close(writer)
        self._forked += 1
        crash_point("launcher.after_fork")
        self._answers.append(self._answer(number, pid, reader))

    def _answer(self, number: int, pid: int, reader: int) -> _Answer:
        message: dict[str, Any] = {"request": number, "shim": pid, "pidfd": False}
        if features().pidfd:
            with contextlib.suppress(OSError):  # EMFILE: the shim runs all the same
                pidfd = os.pidfd_open(pid)
                message["pidfd"] = True
                return _Answer(message, [pidfd, reader])
        return _Answer(message, [reader])

    def _become_shim(self, request: dict[str, Any], reader: int, writer: int) -> NoReturn:
        status = 70  # EX_SOFTWARE, seen only if the shim itself is at fault
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for answer in self._answers:
                for descriptor in answer.descriptors:
                    os.close(descriptor)
            for descriptor in (self._connection.detach(), self._wake, self._wake_writer, reader):
                os.close(descriptor)
            crashpoints.count_from(self._forked)
            status = shim.run(request, writer, self._defaults)
        finally:
            os._exit(status)

    def _send(self) -> None:
        while self._answers:
            answer = self._answers[0]
            crash_point("launcher.before_answer")
            try:
                if answer.descriptors:
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", answer.descriptors))
                    sent = self._connection.sendmsg([answer.content], [rights])
                else:
                    sent = self._connection.send(answer.content)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:
                    raise
                select.select(
                    [], [], [], 0.01
                )  # too many descriptors in flight; no event tells when fewer are
                return
            for descriptor in answer.descriptors:
                os.close(descriptor)
            answer.descriptors = []
            answer.content = answer.content[sent:]
            if answer.content:
                return
            self._answers.pop(0)
            crash_point("launcher.after_answer")


def main(descriptor: int) -> NoReturn:
    """Serve the coordinator at the other end of the socket `descriptor`, then exit."""
    defaults = _settle(descriptor)
    connection = socket.socket(fileno=descriptor)
    features()
    with contextlib.suppress(OSError):
        syscalls.libc()
    procfs.read_stat(os.getpid())
    gc.collect()
    gc.disable()
    gc.freeze()
    Launcher(connection, defaults).serve()
    os._exit(0)


def _settle(descriptor: int) -> Defaults:
    """Cut every tie to whoever started us; return what an agent shall have as if we had never been between."""
    os.setsid()
    os.chdir("/")
    os.set_inheritable(descriptor, False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != descriptor:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                os.close(int(name))
    for signum in ignored_signals():
        signal.signal(signum, signal.SIG_IGN)
    set_name("outlive-launche")  # the kernel keeps 15 characters
    return Defaults.take()


def set_name(name: str) -> None:
    """Show `name` as this process's name in ps and top."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, name.encode())
        os.close(descriptor)
