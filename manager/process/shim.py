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

Why it is written so flat: a shim shares its launcher's pages until it writes to one, and Python writes to every object
that it so much as looks at. Each function called, constant used or exception caught is a page copied, 4 KB for the
agent's life and a microsecond of its start. So what every start does is plain code; what few do is in functions.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any

from eventstore.crashpoints import crash_point
from manager.process import attempt_dir, cgroup, procfs, record_lines, syscalls
from manager.process.child import GATE_OPEN, GATE_OPEN_WITH_GROUP, Defaults, become_agent
from manager.process.exit_status import ExitStatus, exit_line
from manager.process.features import Features
from manager.process.frames import split_request
from manager.process.persistence import persist
from manager.process.sweep import leave_nothing

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Attempt:
    """What is known of the attempt so far, for the steps that may fail or come later."""

    __slots__ = (
        "directory",
        "gate",
        "group",
        "main",
        "name",
        "orphans",
        "phase",
        "report",
        "request_bytes",
        "started_ns",
        "until",
    )

    def __init__(self, report: int, until: bytes, name: bytes, request_bytes: int) -> None:
        self.report = report
        self.request_bytes = request_bytes
        self.until = until
        self.name = name
        self.phase = "fork"
        self.directory = -1
        self.gate = -1
        self.group: str | None = None
        self.main = 0
        self.started_ns = 0
        self.orphans = 0


def run(content: bytes, report: int, defaults: Defaults, features: Features) -> None:
    """Start and accompany the agent of the request `content` (a frame's) to its end. The caller leads a session.

    `report` is the writing end of a non-blocking pipe; it gets the records' lines, then EOF after the exec report.
    """
    path, until, group_name, name, told, whole = split_request(content)
    attempt = _Attempt(report, until, name, len(whole))
    try:
        # Fork first of all: it has each page that we changed before it copied again.
        gate, attempt.gate = os.pipe()
        exec_reader, exec_report = os.pipe()
        crash_point("shim.before_fork")
        attempt.main = main = os.fork()
        if main == 0:
            os.close(attempt.gate)
            os.close(exec_reader)
            become_agent(whole, gate, exec_report, defaults, features)
        crash_point("shim.after_fork")
        os.close(gate)
        os.close(exec_report)
        lock = _take_directory(attempt, path)
        attempt.phase = "spec"
        line = attempt_dir.encode_canonical(whole)
        attempt_dir.write_record(attempt.directory, "spec.json", line, durable=False)
        crash_point("shim.after_spec")
        if features.subreaper:
            syscalls.become_subreaper()
        if group_name and features.cgroup is not None:
            crash_point("shim.before_group")
            attempt.group = cgroup.create(features.cgroup, group_name.decode("ascii"))
            crash_point("shim.after_group")
        _record_identity(attempt, told, defaults, features)
    except OSError as error:
        _refuse(attempt, error)
        return
    _accompany(attempt, lock, exec_reader, features)


def _take_directory(attempt: _Attempt, path: bytes) -> int:
    """Make the attempt's directory and take its lock, which is returned."""
    attempt.phase = "mkdir"
    crash_point("shim.before_mkdir")
    os.mkdir(path, 0o700)
    crash_point("shim.after_mkdir")
    attempt.phase = "lock"
    directory = os.open(path, _DIRECTORY)
    lock = os.open("lock", _LOCK, 0o600, dir_fd=directory)
    crash_point("shim.after_lock_file")
    fcntl.flock(lock, fcntl.LOCK_EX)
    crash_point("shim.after_lock")
    # access, for the usual answer is no: stat's exception costs 24 copied pages.
    if os.access(attempt_dir.CLAIMED, os.F_OK, dir_fd=directory, follow_symlinks=False):
        raise FileExistsError(errno.EEXIST, "recovery has claimed the attempt")
    attempt.directory = directory
    return lock


def _record_identity(attempt: _Attempt, told: bytes, defaults: Defaults, features: Features) -> None:
    """Write who the child is: from here on it can be recognised, so it may run."""
    attempt.phase = "identity"
    ourselves = os.getpid()
    body = record_lines.identity(
        attempt.main,
        _birth(attempt.main, features),
        ourselves,
        _birth(ourselves, features),
        attempt=attempt.name,
        place=defaults.place,
        cgroup=b"null" if attempt.group is None else json.dumps(attempt.group).encode("ascii"),
        told=told,
    )
    line = attempt_dir.encode_canonical(body)
    attempt_dir.write_record(attempt.directory, "identity.json", line, durable=False)
    _tell(attempt, line)
    crash_point("shim.after_identity")


def _birth(pid: int, features: Features) -> tuple[int, bytes]:
    """When a process that cannot vanish, ourselves or our unreaped child, was started, and its pidfd's inode."""
    ticks = procfs.start_ticks(pid)
    if ticks is None:
        raise OSError(errno.ESRCH, "the child cannot be seen in /proc")
    if not features.pidfs:
        return ticks, b"null"
    pidfd = os.pidfd_open(pid)
    inode = os.fstat(pidfd).st_ino
    os.close(pidfd)
    return ticks, b"%d" % inode


def _refuse(attempt: _Attempt, error: OSError) -> None:
    """Say that no program was run; leave a directory that is not ours untouched."""
    crash_point("shim.before_refusal")
    if attempt.main:
        os.close(attempt.gate)
        os.waitpid(attempt.main, 0)
        crash_point("shim.after_child_turned_away")
    body = {
        "record": "refused",
        "phase": attempt.phase,
        "errno": error.errno,
        "message": error.strerror or str(error),
    }
    if attempt.directory >= 0:
        line = _exit_line(attempt, ExitStatus.failed_start(body), None)
        with contextlib.suppress(OSError):  # nothing is lost: no identity and a free lock say the same
            attempt_dir.write_record(attempt.directory, "exit.json", line, durable=True)
    _tell(attempt, attempt_dir.encode(body))
    if attempt.group is not None:
        crash_point("shim.before_refused_group_removal")
        cgroup.remove(attempt.group)
    crash_point("shim.after_refusal")


def _accompany(attempt: _Attempt, lock: int, exec_reader: int, features: Features) -> None:
    """Open the gate, then stay until the agent, or its whole tree, has ended and that is on disk."""
    crash_point("shim.before_gate")
    try:
        # The child is told of its cgroup by the byte: it was forked before there was one.
        os.write(attempt.gate, GATE_OPEN if attempt.group is None else GATE_OPEN_WITH_GROUP)
    except BrokenPipeError:
        attempt.phase = "gate"  # killed there: the exec report will say so
    os.close(attempt.gate)
    crash_point("shim.after_gate")
    failure = _confirm_exec(attempt, exec_reader)
    status = _await_end(attempt, failure)
    usage = syscalls.unreaped_usage(attempt.main, attempt.request_bytes) if attempt.until != b"tree" else None
    line = _exit_line(attempt, status, usage)
    crash_point("shim.before_exit_record")
    persist(attempt.directory, "exit.json", line)
    crash_point("shim.after_exit_record")
    line = leave_nothing(attempt.main, attempt.group, attempt.name, features)
    crash_point("shim.after_sweep")
    _note(attempt.directory, "sweep.json", line)
    os.close(attempt.directory)
    crash_point("shim.before_unlock")
    os.close(lock)
    crash_point("shim.before_reap")
    try:
        os.waitpid(attempt.main, 0)
    except ChildProcessError:
        return  # with until=tree it was reaped before its descendants
    crash_point("shim.after_reap")


def _confirm_exec(attempt: _Attempt, exec_reader: int) -> dict[str, Any] | None:
    """Write whether the program runs; the failure, or None."""
    content = os.read(exec_reader, 4096)  # all of it: a report is smaller and written at once
    os.close(exec_reader)
    attempt.started_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    failure: dict[str, Any] | None = None
    if content:
        failure = json.loads(content)
    elif not procfs.has_executed(attempt.main):  # a child killed on its way to exec closes the pipe, too
        failure = {"phase": "killed", "errno": 0, "message": "ended by a signal before it ran the program"}
    confirmed_at = time.time_ns() // 1000
    crash_point("shim.before_exec_record")
    if failure is None:
        line = attempt_dir.encode_canonical(record_lines.executed(attempt.name, confirmed_at))
    else:
        content = attempt_dir.canonical({"record": "exec", **failure, "confirmed_at": confirmed_at})
        line = attempt_dir.encode_named(content, attempt.name)
    _note(attempt.directory, "exec.json", line)
    crash_point("shim.after_exec_record")
    _tell(attempt, line)
    os.close(attempt.report)
    return failure


def _await_end(attempt: _Attempt, failure: dict[str, Any] | None) -> ExitStatus:
    """Collect orphans until the main process, or with until=tree the last descendant, has ended."""
    status: ExitStatus | None = None
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return status or ExitStatus.unknown("the shim found its child already reaped")
        if ended is None or ended.si_pid != attempt.main or status is not None:
            if ended is not None:
                crash_point("shim.before_orphan_reap")
                os.waitpid(ended.si_pid, 0)
                crash_point("shim.after_orphan_reap")
                attempt.orphans += 1
            continue
        status = (
            ExitStatus.failed_start(failure) if failure else ExitStatus.of(ended.si_code, ended.si_status)
        )
        if attempt.until != b"tree":
            return status
        line = _exit_line(
            attempt, status, syscalls.unreaped_usage(attempt.main, attempt.request_bytes), record="main"
        )
        crash_point("shim.before_main_record")
        persist(attempt.directory, "main.json", line)
        crash_point("shim.after_main_record")
        os.waitpid(attempt.main, 0)
        crash_point("shim.after_main_reap")


def _exit_line(
    attempt: _Attempt, status: ExitStatus, usage: syscalls.Usage | None, record: str = "exit"
) -> bytes:
    return exit_line(
        status,
        attempt=attempt.name,
        record=record,
        until=attempt.until,
        started_boottime_ns=attempt.started_ns,
        orphans=attempt.orphans,
        usage=usage,
        oom_kills=cgroup.out_of_memory_kills(attempt.group) if attempt.group is not None else None,
    )


def _note(directory: int, name: str, line: bytes) -> None:
    """Write what is not worth waiting for room: the agent runs all the same, and its identity or exit is on disk."""
    try:
        attempt_dir.write_record(directory, name, line, durable=False)
    except OSError:
        return


def _tell(attempt: _Attempt, line: bytes) -> None:
    crash_point("shim.before_report")
    try:
        os.write(attempt.report, line)
        crash_point("shim.after_report")
    except OSError:
        return  # nobody reads, or reads too slowly: it is on disk
