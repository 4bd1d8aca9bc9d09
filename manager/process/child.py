"""The agent's process between fork and exec: waits at the gate, becomes what was asked for, runs the program.

Any failure ends it without exec and goes back over a close-on-exec pipe as {phase, errno, message}.
"""

import contextlib
import errno
import json
import os
import resource
import signal

# The plain functions: the module signal's look up enum members, which copies 100 KB.
from _signal import SIG_DFL  # type: ignore[import-not-found]
from _signal import signal as set_disposition
from typing import Any, NamedTuple, NoReturn

from eventstore.crashpoints import crash_point
from manager.process import cgroup, procfs, syscalls
from manager.process.features import Features
from manager.process.frames import read_content
from manager.process.identity import TOKEN_VARIABLE

_OURS_ALONE = ("OUTLIVE_CRASH", "OUTLIVE_STOP", "OUTLIVE_DISABLE")
# What a launcher and a shim ignore: nobody ends them by a polite signal, and nobody has to read what they write.
IGNORED_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGQUIT,
    signal.SIGXFSZ,
)
GATE_OPEN = b"g"
GATE_OPEN_WITH_GROUP = b"c"
_MAX_MESSAGE = 500  # so that a report in ASCII, 6 bytes a character at most, is one write and one read
_DEFAULT_PATH = "/bin:/usr/bin"  # execvp(3) where PATH is not set


class Defaults(NamedTuple):
    """What a launcher was started with and has changed for itself: agents get these unless the request says more."""

    umask: int
    nofile: tuple[int, int]
    place: tuple[bytes, int]  # boot id and pid namespace, which a shim writes down and never changes

    @classmethod
    def take(cls) -> "Defaults":
        """Remember the present values, then set ours: private files, and as many descriptors as are allowed."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        place = (procfs.boot_id().encode("ascii"), procfs.pid_namespace())
        return cls(os.umask(0o077), (soft, hard), place)


def become_agent(
    whole_request: bytes, gate: int, report: int, defaults: Defaults, features: Features
) -> NoReturn:
    """Turn this freshly forked process into the agent once the gate opens; exit unexecuted if it never does.

    The caller has closed its own ends of the two pipes: its death must close the gate.
    """
    phase = "gate"
    try:
        crash_point("child.started")
        os.setsid()
        opened = os.read(gate, 1)
        if opened not in (GATE_OPEN, GATE_OPEN_WITH_GROUP):
            os._exit(0)
        crash_point("child.after_gate")
        request = read_content(whole_request)
        if opened == GATE_OPEN_WITH_GROUP and features.cgroup is not None:
            crash_point("child.before_group")
            cgroup.enter(cgroup.directory_of(features.cgroup, request["token"]))
            crash_point("child.after_group")
        phase = "log"
        _connect_output(request["attempt_dir"])
        for signum in IGNORED_SIGNALS:
            set_disposition(signum, SIG_DFL)
        phase = "umask"
        os.umask(defaults.umask if request.get("umask") is None else request["umask"])
        phase = "limits"
        _limit(request, defaults)
        phase = "user"
        _change_user(request.get("user"))
        phase = "cwd"
        if request.get("cwd") is not None:
            os.chdir(request["cwd"])
        phase = "exec"
        crash_point("child.before_exec")
        _execute(request["command"], _environment(request))
    except Exception as error:  # anything at all: this process must not run on as a second shim
        _report(report, phase, error)
    finally:
        os._exit(127)


def _connect_output(directory: str) -> None:
    """Straight to files, opened before any right is given up; standard input stays /dev/null, the launcher's own."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    crash_point("child.before_logs")
    stdout = os.open(directory + "/stdout.log", flags, 0o600)
    crash_point("child.after_stdout_log")
    stderr = os.open(directory + "/stderr.log", flags, 0o600)
    crash_point("child.after_logs")
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


def _limit(request: dict[str, Any], defaults: Defaults) -> None:
    soft, hard = request.get("nofile") or defaults.nofile
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for name, (soft, hard) in (request.get("rlimits") or {}).items():
        constant = "RLIMIT_" + name.upper().removeprefix("RLIMIT_")
        number = getattr(resource, constant, None)
        if number is None:
            raise OSError(errno.EINVAL, f"no such limit: {name}")
        resource.setrlimit(number, (soft, hard))


def _change_user(user: dict[str, Any] | None) -> None:
    """Groups, then gid, then uid: the other way round the rights to do the rest are gone. Verified, not presumed.

    A change of the uid alone leaves inheritable capabilities, and with some "securebits" all of them.
    """
    if user is None:
        return
    uid, gid, groups = user["uid"], user["gid"], sorted(user["groups"])
    os.setgroups(groups)
    if uid != 0:
        syscalls.bound_capabilities()
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or sorted(os.getgroups()) != groups:
        raise OSError(errno.EPERM, "the kernel kept another user")
    if uid != 0:
        syscalls.drop_capabilities()
        _require_no_capabilities()


def _require_no_capabilities() -> None:
    status = procfs.read_bytes("/proc/self/status") or b""
    held = [line for line in status.splitlines() if line.startswith(b"Cap") and int(line.split()[1], 16)]
    if held:
        raise OSError(errno.EPERM, f"the kernel kept capabilities: {held[0].decode()}")


def _environment(request: dict[str, Any]) -> dict[str, str]:
    environment = {name: value for name, value in request["env"].items() if name not in _OURS_ALONE}
    if request.get("token"):
        environment[TOKEN_VARIABLE] = request["token"]
    return environment


def _execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """execvpe without its fallback to a shell and without importing warnings, as os.execvpe does."""
    if not command or not command[0]:
        raise OSError(errno.ENOENT, "the command is empty")
    program = command[0]
    if "/" in program:
        _execute_file(program, command, environment)
    directories = environment.get("PATH", _DEFAULT_PATH).split(":")
    for directory in directories:
        # An execve in vain packs the whole environment and makes an exception: 25 microseconds, this 2.
        if os.access(f"{directory or '.'}/{program}", os.X_OK):
            _execute_file(f"{directory or '.'}/{program}", command, environment)
    denied: OSError | None = None
    for directory in directories:
        try:
            _execute_file(f"{directory or '.'}/{program}", command, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _execute_file(path: str, command: list[str], environment: dict[str, str]) -> NoReturn:
    try:
        os.execve(path, command, environment)
    except FileNotFoundError as error:
        if not os.path.isfile(path):
            raise
        name = _interpreter(path)
        raise OSError(error.errno, f"its interpreter{name and ' ' + name} was not found") from error


def _interpreter(path: str) -> str:
    """What the first line of a script names; empty for other programs, whose loader is missing, and unreadable ones."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        line = file.readline(_MAX_MESSAGE)
        if line.startswith(b"#!"):
            return os.fsdecode((line[2:].split() or [b""])[0]).encode("ascii", "backslashreplace").decode()
    return ""


def _report(descriptor: int, phase: str, error: Exception) -> None:
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    content = json.dumps({"phase": phase, "errno": number, "message": message[:_MAX_MESSAGE]}).encode("ascii")
    crash_point("child.before_report")
    with contextlib.suppress(OSError):
        os.write(descriptor, content)
    crash_point("child.after_report")
