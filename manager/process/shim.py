"""The shim: the parent of one agent, for as long as the agent's tree lives.

Theory of operation. The disk is the hand-off: each fact is put into the attempt's directory before anybody is told or
the next step is taken, and nobody is waited for. In order:

1. Fork. The child waits at the gate, a pipe. Then mkdir (exclusive: the fence against a second start), lock, spec.
2. The child's identity is written; only then the gate opens. If we die before, the child reads EOF and exits.
3. Exec is confirmed or refused over a close-on-exec pipe, and written.
4. The main process's end is peeked at (WNOWAIT), written durably, and its tree killed. Its zombie is kept meanwhile: it
   is the crash-safe copy of the exit status, and it keeps its PID, group and session from being reused.
5. The lock is given up, and only then the zombie reaped: a held lock proves that the PID is still the agent's.

A disk that refuses an exit record is asked again every second, for ever.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any

from eventstore.crashpoints import crash_point
from manager.process import attempt_dir, cgroup, procfs, syscalls
from manager.process.child import GATE_OPEN, GATE_OPEN_WITH_GROUP, Defaults, become_agent
from manager.process.exit_status import ExitStatus, exit_body
from manager.process.features import features
from manager.process.frames import split_request
from manager.process.identity import identify
from manager.process.sweep import sweep

_RETRY_SECONDS = 1.0
_CREATE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def run(request: bytes, report: int, defaults: Defaults) -> int:
    """Start and accompany the agent of `request` (a frame's content) to its end; returns this process's exit status.

    `report` is the writing end of a non-blocking pipe; it gets the records' lines, then EOF after the exec report.
    """
    shim = _Shim(request, report, defaults)
    try:
        shim.fork()
        shim.prepare()
        shim.record_identity()
    except OSError as error:
        shim.refuse(error)
        return 0
    shim.accompany()
    return 0


class _Shim:
    __slots__ = (
        "_defaults",
        "_directory",
        "_exec_reader",
        "_gate",
        "_group",
        "_lock",
        "_main",
        "_orphans",
        "_phase",
        "_report",
        "_request",
        "_started_ns",
        "_until_tree",
        "_whole_request",
    )

    def __init__(self, request: bytes, report: int, defaults: Defaults) -> None:
        self._request, self._whole_request = split_request(request)
        self._report = report
        self._defaults = defaults
        self._until_tree = self._request.get("until") == "tree"
        self._phase = "mkdir"
        self._directory = -1
        self._lock = -1
        self._group: str | None = None
        self._main = 0
        self._started_ns = 0
        self._orphans = 0

    def fork(self) -> None:
        """Fork the child; it waits at the gate. First of all: a fork has each page we changed copied again."""
        os.setsid()
        procfs.set_name(b"outlive-shim")
        self._phase = "fork"
        gate, gate_writer = os.pipe()
        exec_reader, exec_report = os.pipe()
        crash_point("shim.before_fork")
        self._main = os.fork()
        if self._main == 0:
            os.close(gate_writer)
            os.close(exec_reader)
            become_agent(self._whole_request, gate, exec_report, self._defaults)
        self._gate, self._exec_reader = gate_writer, exec_reader
        crash_point("shim.after_fork")
        os.close(gate)
        os.close(exec_report)

    def prepare(self) -> None:
        """Take the attempt's directory, and all that the agent needs from us before it may run."""
        self._phase = "mkdir"
        path = self._request["attempt_dir"]
        crash_point("shim.before_mkdir")
        os.mkdir(path, 0o700)
        crash_point("shim.after_mkdir")
        self._phase = "lock"
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._lock = os.open("lock", os.O_RDWR | _CREATE, 0o600, dir_fd=directory)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # access, for the usual answer is no: stat's exception costs 24 copied pages.
        if os.access(attempt_dir.CLAIMED, os.F_OK, dir_fd=directory, follow_symlinks=False):
            raise FileExistsError(errno.EEXIST, "recovery has claimed the attempt")
        self._directory = directory
        crash_point("shim.after_lock")
        self._phase = "spec"
        line = attempt_dir.encode_canonical(self._whole_request)
        attempt_dir.write_record(directory, "spec.json", line, durable=False)
        crash_point("shim.after_spec")
        if features().subreaper:
            syscalls.become_subreaper()
        own = features().cgroup
        if own is not None and self._request.get("cgroup"):
            self._group = cgroup.create(own, self._request["token"])

    def record_identity(self) -> None:
        """Write who the child is: from here on it can be recognised, so it may run."""
        self._phase = "identity"
        child, ourselves = identify(self._main), identify(os.getpid())
        if child is None or ourselves is None:
            raise OSError(errno.ESRCH, "the child cannot be seen in /proc")
        body = {
            "record": "identity",
            "pid": self._main,
            "start_ticks": child.start_ticks,
            "boot_id": child.boot_id,
            "pid_namespace": child.pid_namespace,
            "pidfd_inode": child.pidfd_inode,
            "pgid": self._main,  # it is about to call setsid, or has: both are its PID
            "session": self._main,
            "uid": os.getuid() if self._request["uid"] is None else self._request["uid"],
            "shim_pid": ourselves.pid,
            "shim_start_ticks": ourselves.start_ticks,
            "shim_pidfd_inode": ourselves.pidfd_inode,
            "token": self._request.get("token"),
            "cgroup": self._group,
            "until": "tree" if self._until_tree else "main",
        }
        self._tell(self._write("identity.json", body, durable=False))
        crash_point("shim.after_identity")

    def refuse(self, error: OSError) -> None:
        """Say that no program was run; leave a directory that is not ours untouched."""
        if self._main:
            os.close(self._gate)
            os.waitpid(self._main, 0)
        body = {
            "record": "refused",
            "phase": self._phase,
            "errno": error.errno,
            "message": error.strerror or str(error),
        }
        if self._directory >= 0:
            failure = self._exit_body(ExitStatus.failed_start(body), None)
            with contextlib.suppress(OSError):  # nothing is lost: no identity and a free lock say the same
                self._write("exit.json", failure, durable=True)
        self._tell(attempt_dir.encode(body))
        self._drop_group()

    def accompany(self) -> None:
        """Open the gate, then stay until the agent, or its whole tree, has ended and that is on disk."""
        crash_point("shim.before_gate")
        # The child is told of its cgroup by the byte: it was forked before there was one.
        with contextlib.suppress(BrokenPipeError):  # killed at the gate: the exec report will say so
            os.write(self._gate, GATE_OPEN if self._group is None else GATE_OPEN_WITH_GROUP)
        os.close(self._gate)
        crash_point("shim.after_gate")
        failure = self._confirm_exec()
        status = self._await_end(failure)
        usage = syscalls.unreaped_usage(self._main) if not self._until_tree else None
        body = self._exit_body(status, usage)
        crash_point("shim.before_exit_record")
        self._persist("exit.json", body)
        crash_point("shim.after_exit_record")
        try:
            left = sweep(self._main, self._group)
        except (
            OSError
        ):  # out of descriptors or memory: the exit is on disk, and nothing is claimed of the rest
            left = {"left": [], "left_count": 0, "complete": False}
        crash_point("shim.after_sweep")
        with contextlib.suppress(OSError):
            self._write("sweep.json", {"record": "sweep", **left}, durable=False)
        self._drop_group()
        os.close(self._lock)
        crash_point("shim.before_reap")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._main, 0)
        crash_point("shim.after_reap")

    def _confirm_exec(self) -> dict[str, Any] | None:
        """Write whether the program runs; the failure, or None."""
        content = b""
        while piece := os.read(self._exec_reader, 4096):
            content += piece
        os.close(self._exec_reader)
        self._started_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        failure: dict[str, Any] | None = None
        if content:
            failure = json.loads(content)
        else:
            stat = procfs.read_stat(self._main)
            # A child killed on its way to exec closes the pipe, too.
            if stat is not None and not stat.has_executed:
                failure = {
                    "phase": "killed",
                    "errno": 0,
                    "message": "ended by a signal before it ran the program",
                }
        body = {"record": "exec", "errno": 0, "phase": None, "message": None, **(failure or {})}
        body["confirmed_at"] = time.time_ns() // 1000
        crash_point("shim.before_exec_record")
        line = attempt_dir.encode(body)
        with contextlib.suppress(
            OSError
        ):  # no room; the agent runs all the same, and its identity is on disk
            attempt_dir.write_record(self._directory, "exec.json", line, durable=False)
        crash_point("shim.after_exec_record")
        self._tell(line)
        os.close(self._report)
        return failure

    def _await_end(self, failure: dict[str, Any] | None) -> ExitStatus:
        """Collect orphans until the main process, or with until=tree the last descendant, has ended."""
        status: ExitStatus | None = None
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                return status or ExitStatus.unknown("the shim found its child already reaped")
            if ended is None or ended.si_pid != self._main or status is not None:
                if ended is not None:
                    os.waitpid(ended.si_pid, 0)
                    self._orphans += 1
                continue
            status = (
                ExitStatus.failed_start(failure) if failure else ExitStatus.of(ended.si_code, ended.si_status)
            )
            if not self._until_tree:
                return status
            usage = syscalls.unreaped_usage(self._main)
            body = self._exit_body(status, usage)
            crash_point("shim.before_main_record")
            self._persist("main.json", {**body, "record": "main"})
            crash_point("shim.after_main_record")
            os.waitpid(self._main, 0)

    def _exit_body(self, status: ExitStatus, usage: syscalls.Usage | None) -> dict[str, Any]:
        return exit_body(
            status,
            until_tree=self._until_tree,
            started_boottime_ns=self._started_ns,
            orphans=self._orphans,
            usage=usage,
            oom_kills=cgroup.out_of_memory_kills(self._group) if self._group else None,
        )

    def _persist(self, name: str, body: dict[str, Any]) -> None:
        """Write an exit durably, however long the disk refuses; give up only when the directory is deleted."""
        while True:
            try:
                self._write(name, body, durable=True)
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _write(self, name: str, body: dict[str, Any], *, durable: bool) -> bytes:
        line = attempt_dir.encode(body)
        attempt_dir.write_record(self._directory, name, line, durable=durable)
        return line

    def _tell(self, line: bytes) -> None:
        try:
            os.write(self._report, line)
        except OSError:
            return  # nobody reads, or reads too slowly: it is on disk

    def _drop_group(self) -> None:
        if self._group is not None:
            cgroup.remove(self._group)
