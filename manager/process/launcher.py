"""The launcher: a small process that forks one shim for each request of its coordinator.

Theory of operation. One thread, one poll loop. A coordinator starts the launcher over a socketpair; it leaves when
that socket ends, or after a minute without a request. Its shims live on without it. It never runs a program and never
writes a file: all it does for a request is pipe, fork, pidfd_open, answer. SIGCHLD is not ignored, though nothing
here wants an exit status: a shim that the kernel reaped could be gone, and its PID reused, before its pidfd is open.

A forked shim shares this interpreter's pages until it writes to them. So the imports are few, and the garbage
collector is off: a collection writes to every object's header. And the launcher itself writes little between two
forks, for shims forked before and after no longer share a page that it changes: it does not even read a request.
Answers come in the order of the requests, so that they need not name them.
"""

import array
import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
from _signal import SIG_DFL, SIGCHLD  # type: ignore[import-not-found]
from _signal import signal as set_disposition
from typing import NoReturn

from eventstore import crashpoints
from eventstore.crashpoints import crash_point
from manager.process import procfs, shim, syscalls
from manager.process.child import IGNORED_SIGNALS, Defaults
from manager.process.features import Features, features
from manager.process.frames import take_content
from manager.process.rehearsal import rehearse

IDLE_SECONDS = 60.0  # a new launcher costs 80 ms, an idle one 10 MB
_MAX_UNSENT_ANSWERS = 32  # each holds two descriptors; a coordinator that does not read stops us here
# Of CPython's Objects/obmalloc.c on 64 bits: small objects are in pools for sizes in steps of 16.
_LARGEST_BLOCK, _POOL_BYTES, _POOL_HEADER_BYTES = 512, 16 * 1024, 48
_MOST_BLOCKS = 4096  # of a size, to be filled
_RECEIVE_BYTES = 64 * 1024  # beyond 128 KB malloc maps and unmaps memory for each


class _Answer:
    """Bytes on their way to the coordinator, and the descriptors that travel with the first of them."""

    __slots__ = ("content", "descriptors")

    def __init__(self, content: bytes, descriptors: list[int]) -> None:
        self.content = len(content).to_bytes(4, "big") + content
        self.descriptors = descriptors


class Launcher:
    """Serves one coordinator's requests on a connected stream socket."""

    def __init__(self, connection: socket.socket, defaults: Defaults, features: Features) -> None:
        self._connection = connection
        self._defaults = defaults
        self._features = features
        self._received = bytearray()
        self._answers: list[_Answer] = []
        self._forked = 0
        self._wake, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poller = select.poll()
        self._watched = select.POLLIN

    def serve(self) -> None:
        """Answer requests until the coordinator is gone or has been quiet for `IDLE_SECONDS`."""
        self._connection.setblocking(False)
        self._poller.register(self._wake, select.POLLIN)
        self._poller.register(self._connection, select.POLLIN)
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
        request = take_content(self._received) if len(self._answers) < _MAX_UNSENT_ANSWERS else None
        ready = self._poller.poll(0 if request is not None else IDLE_SECONDS * 1000)
        if not ready and request is None:
            return False
        state = 0
        for descriptor, events in ready:
            if descriptor == self._wake:
                self._reap()
            else:
                state = events
        if state & (select.POLLHUP | select.POLLERR):
            return False  # what it still asked for is not started: nobody would read the answer
        if request is not None:
            self._launch(request)
        elif state & select.POLLIN and not self._receive():
            return False
        if self._answers:
            self._send()
            self._watch()
        return True

    def _watch(self) -> None:
        wanted = select.POLLIN if len(self._answers) < _MAX_UNSENT_ANSWERS else 0
        wanted |= select.POLLOUT if self._answers else 0
        if wanted != self._watched:
            self._poller.modify(self._connection, wanted)
            self._watched = wanted

    def _receive(self) -> bool:
        try:
            piece = self._connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return True
        self._received += piece
        return bool(piece)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        crash_point("launcher.before_reap")
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                crash_point("launcher.after_reap")

    def _launch(self, request: bytes) -> None:
        reader = writer = -1
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            crash_point("launcher.before_fork")
            pid = os.fork()
        except OSError as error:
            if reader >= 0:
                os.close(reader)
                os.close(writer)
            failure = {"phase": "fork", "errno": error.errno, "message": os.strerror(error.errno or 0)}
            self._answers.append(_Answer(json.dumps({"error": failure}).encode(), []))
            return
        if pid == 0:
            self._become_shim(request, reader, writer)
        os.close(writer)
        self._forked += 1
        crash_point("launcher.after_fork")
        self._answers.append(_answer(pid, reader, self._features))

    def _become_shim(self, request: bytes, reader: int, writer: int) -> NoReturn:
        status = 70  # EX_SOFTWARE, seen only if the shim itself is at fault
        try:
            signal.set_wakeup_fd(-1)
            set_disposition(SIGCHLD, SIG_DFL)
            for answer in self._answers:
                for descriptor in answer.descriptors:
                    os.close(descriptor)
            for descriptor in (self._connection.detach(), self._wake, self._wake_writer, reader):
                os.close(descriptor)
            crashpoints.count_as_shim(self._forked + 1, request)
            os.setsid()
            procfs.set_name(b"outlive-shim")
            shim.run(request, writer, self._defaults, self._features)
            status = 0
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
                    crash_point("launcher.after_rights")
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
            crash_point("launcher.after_answer")
            for descriptor in answer.descriptors:
                os.close(descriptor)
            answer.descriptors = []
            answer.content = answer.content[sent:]
            if answer.content:
                return
            self._answers.pop(0)


def _answer(pid: int, reader: int, features: Features) -> _Answer:
    if features.pidfd:
        try:
            return _Answer(b'{"shim":%d,"pidfd":true}' % pid, [os.pidfd_open(pid), reader])
        except OSError:  # EMFILE: the shim runs all the same
            pass
    return _Answer(b'{"shim":%d,"pidfd":false}' % pid, [reader])


def main(descriptor: int) -> NoReturn:
    """Serve the coordinator at the other end of the socket `descriptor`, then exit."""
    defaults = _settle(descriptor)
    features()
    with contextlib.suppress(OSError):
        syscalls.reset_internal_signals()
    rehearse(defaults)
    gc.collect()
    gc.disable()
    filling = fill_pools()
    gc.freeze()
    Launcher(socket.socket(fileno=descriptor), defaults, features()).serve()
    del filling  # not before: a freed block would be the next to be used
    os._exit(0)


def fill_pools() -> list[object]:
    """What fills the free blocks that Python's allocator has in its pools, as long as it is kept.

    What a shim makes then begins a new pool of its size, whose header and first blocks are in one page. Else they would
    be in two pages, each of which is copied: 60 KB a shim. Where pools are not as we know them shims are just larger.
    """
    filling: list[object] = []
    for size in range(16, _LARGEST_BLOCK + 1, 16):
        for _ in range(_MOST_BLOCKS):
            filling.append(object() if size == 16 else float(size) if size == 32 else bytes(size - 33))
            if id(filling[-1]) % _POOL_BYTES == _POOL_HEADER_BYTES:  # the first of its pool, which is new
                del filling[-1]
                break
    return filling


def _settle(descriptor: int) -> Defaults:
    """Cut every tie to whoever started us; return what an agent shall have as if we had never been between."""
    os.setsid()
    os.chdir("/")
    os.set_inheritable(descriptor, False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != descriptor:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                os.close(int(name))
    for signum in IGNORED_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    procfs.set_name(b"outlive-launche")
    return Defaults.take()
