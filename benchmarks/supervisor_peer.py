"""supervisor: one `supervisord` that is the parent of all, driven over XML-RPC on a unix socket.

The programs are described before the clock starts. `startsecs=0` spares it the second for which it would otherwise
watch each program, `redirect_stderr` a pipe each, and no log file the writing. `minfds` keeps its default: each child
closes that many descriptors one by one, and 8,000 of them doubled the time; the limit is raised from outside instead.
Listing 1,000 programs keeps it busy for about 0.4 s, so it is asked only once the kernel shows that many children.
"""

import resource
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import psutil

from benchmarks.processes import SLEEPER, Stuck, child_pids, end_daemon, wait_until_sleeping

START_SECONDS = 120.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02
RUNNING, EXITED = 20, 100  # supervisor.states.ProcessStates

DAEMON = """\
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={folder}/pid
childlogdir={folder}
[unix_http_server]
file={folder}/rpc.sock
chmod=0700
[supervisorctl]
serverurl=unix://{folder}/rpc.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files={folder}/programs/*.conf
"""
PROGRAMS = """\
[program:sleeper]
command={command}
numprocs={count}
process_name=sleeper%(process_num)05d
autostart=false
startsecs=0
stdout_logfile=NONE
redirect_stderr=true
{more}
"""


class SupervisorPeer:
    """A private `supervisord` in a folder of its own."""

    name = "supervisor"
    most: int | None = None

    def __init__(self, command: Sequence[str] = SLEEPER, grace_seconds: float | None = None) -> None:
        self._command = command
        self._grace_seconds = grace_seconds
        self._folder: Path | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._sleepers: list[psutil.Process] = []

    def unavailable(self) -> str | None:
        """A reason unless the package is there."""
        try:
            version("supervisor")
        except PackageNotFoundError:
            return "supervisor is not installed (`pip install outlive[bench]`)"
        return None

    def version(self) -> str:
        """The installed package's version."""
        return version("supervisor")

    def open(self) -> None:
        """Start the daemon without programs and wait until it answers."""
        self._folder = Path(tempfile.mkdtemp(prefix="outlive-bench-supervisor-"))
        (self._folder / "programs").mkdir()
        configuration = self._folder / "supervisord.conf"
        configuration.write_text(DAEMON.format(folder=self._folder), encoding="utf-8")
        self._daemon = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self._folder, start_new_session=True,
        )  # fmt: skip
        _, most = resource.prlimit(self._daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self._daemon.pid, resource.RLIMIT_NOFILE, (most, most))
        deadline_at = time.monotonic() + START_SECONDS
        while not self._answers():
            _check(deadline_at, "supervisord does not answer")

    def start(self, count: int) -> float:
        """Seconds from the request to the daemon reporting each RUNNING and each executing the sleeper."""
        self._describe(
            count, "" if self._grace_seconds is None else f"stopwaitsecs={self._grace_seconds:.0f}"
        )
        began_at = time.monotonic()
        deadline_at = began_at + START_SECONDS
        self._call("startProcessGroup", "sleeper", False)
        while len(child_pids(self._daemon_pid())) < count:
            _check(deadline_at, "not every program was started")
        listed = self._list()
        while any(each["state"] != RUNNING for each in listed):
            _check(deadline_at, "not every program is RUNNING")
            listed = self._list()
        wait_until_sleeping((each["pid"] for each in listed), deadline_at)
        seconds = time.monotonic() - began_at
        self._sleepers = [psutil.Process(each["pid"]) for each in listed]
        return seconds

    def run_all(self, count: int) -> float:
        """Seconds from the request to run the command `count` times to the daemon reporting each ended with 0."""
        self._describe(count, "autorestart=false")
        began_at = time.monotonic()
        self._call("startProcessGroup", "sleeper", False)
        while child_pids(self._daemon_pid()):
            _check(began_at + START_SECONDS, "not every program has ended")
        listed = self._list()
        while any(each["state"] != EXITED for each in listed):
            _check(began_at + START_SECONDS, "not every program is EXITED")
            listed = self._list()
        seconds = time.monotonic() - began_at
        assert {each["exitstatus"] for each in listed} == {0}
        return seconds

    def pids(self) -> list[int]:
        """The daemon."""
        return [] if self._daemon is None else [self._daemon.pid]

    def stop_all(self) -> float:
        """Seconds from the request until every sleeper is gone."""
        began_at = time.monotonic()
        self._call("stopProcessGroup", "sleeper", False)
        while any(process.is_running() for process in self._sleepers):
            _check(began_at + STOP_SECONDS, "sleepers are still there")
        return time.monotonic() - began_at

    def close(self) -> None:
        """End the daemon and what it runs; remove the folder."""
        if self._daemon is not None:
            end_daemon(self._daemon, self._sleepers)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def status_command(self) -> list[str]:
        """The command line of `supervisorctl status`."""
        control = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisorctl"]
        return [*control, "-c", str(self._place() / "supervisord.conf"), "status"]

    def _describe(self, count: int, more: str) -> None:
        programs = self._place() / "programs" / "sleepers.conf"
        text = PROGRAMS.format(command=shlex.join(self._command), count=count, more=more)
        programs.write_text(text, encoding="utf-8")
        self._call("reloadConfig")
        self._call("addProcessGroup", "sleeper")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as trial:  # supervisor's own transport leaks one that is refused
            try:
                trial.connect(f"{self._place()}/rpc.sock")
            except OSError:
                return False
        return bool(self._call("getState")["statecode"] == 1)

    def _list(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._call("getAllProcessInfo")
        return listed

    def _call(self, method: str, *arguments: str | bool) -> Any:
        from supervisor.xmlrpc import SupervisorTransport  # the package is optional

        transport = SupervisorTransport(None, None, f"unix://{self._place()}/rpc.sock")
        try:
            return getattr(ServerProxy("http://unused", transport=transport).supervisor, method)(*arguments)
        finally:
            transport.close()

    def _daemon_pid(self) -> int:
        if self._daemon is None:
            raise Stuck("cannot use supervisor: the peer is not open; call open() first")
        return self._daemon.pid

    def _place(self) -> Path:
        if self._folder is None:
            raise Stuck("cannot use supervisor: the peer is not open; call open() first")
        return self._folder


def _check(deadline_at: float, what: str) -> None:
    if time.monotonic() > deadline_at:
        raise Stuck(f"cannot measure supervisor: {what}; run supervisord by hand to see why")
    time.sleep(POLL_SECONDS)
