"""An agent that tells the truth about itself: `python -I -S agent.py LEDGER [behaviour…]`. Standard library only.

Its first act is one line in the ledger (a file opened with O_APPEND; each line is one write of at most 512 bytes):

    START agent attempt token pid start_ticks pid_namespace boot_id boottime_ns
    BEAT  agent attempt pid boottime_ns waited_ns      every 0.2 s (`--beat`); waited_ns: for a processor
    SIG   agent attempt pid signal sender_pid boottime_ns
    FORK  agent attempt pid start_ticks boottime_ns    each descendant, for itself
    END   agent attempt pid code boottime_ns           before it ends on its own; -N: by sending itself signal N

Signals are blocked and waited for, so that each is told with its sender; SIGTERM then ends it with 0. A `--canary` has
no part in any home: it sits on a pid and tells of every signal, until its standard input is closed.
"""

import os
import signal
import sys
import time
from typing import NoReturn

DEADLY = {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGILL, signal.SIGFPE, signal.SIGBUS}
WATCHED = signal.valid_signals() - DEADLY - {signal.SIGCHLD, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
BEAT_SECONDS = 0.2
FOREVER_SECONDS = 1e6


class Ledger:
    """Writes lines about this process, whose id and attempt it remembers."""

    def __init__(self, path: str, agent: str, attempt: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.agent, self.attempt = agent, attempt

    def tell(self, kind: str, *fields: object) -> None:
        """One line, with the time at its end."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        words = [kind, self.agent, self.attempt, *map(str, fields), str(now)]
        if kind == "BEAT":
            words.append(waited_ns())
        os.write(self._file, (" ".join(words) + "\n").encode())

    def start(self) -> None:
        """The very first line."""
        namespace = os.stat("/proc/self/ns/pid").st_ino
        token = os.urandom(8).hex()
        self.tell(
            "START", token, os.getpid(), start_ticks(), namespace, read("/proc/sys/kernel/random/boot_id")
        )

    def end(self, code: int) -> None:
        """The last line."""
        self.tell("END", os.getpid(), code)


def read(path: str) -> str:
    """A small file of the kernel's."""
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()


def start_ticks() -> str:
    """When this process was started, raw, in clock ticks since boot."""
    return read("/proc/self/stat").rpartition(")")[2].split()[19]


def waited_ns() -> str:
    """How long this process has waited for a processor; a busy machine is no fault of a manager."""
    try:
        return read("/proc/self/schedstat").split()[1]
    except OSError:
        return "0"


def main(arguments: list[str]) -> NoReturn:
    """Tell, then behave."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    path, *behaviour = arguments
    if behaviour[:1] == ["--again"]:  # the same process, its environment erased
        ledger = Ledger(path, behaviour[1], behaviour[2])
        behave(ledger, path, behaviour[3:], is_erased=True)
    if "--canary" in behaviour:
        ledger = Ledger(path, "canary", "0")
        ledger.start()
        sit(ledger)
    ledger = Ledger(path, os.environ.get("OUTLIVE_AGENT_ID", "none"), os.environ.get("OUTLIVE_ATTEMPT", "0"))
    ledger.start()
    behave(ledger, path, behaviour, is_erased=False)


def behave(ledger: Ledger, path: str, arguments: list[str], *, is_erased: bool) -> NoReturn:
    """Do what the arguments say, in the order of the options below."""
    import argparse  # after the first line, which must not wait for it

    parser = argparse.ArgumentParser()
    parser.add_argument("--erase-environment", action="store_true", help="leave no mark in /proc/PID/environ")
    parser.add_argument("--fork", type=int, default=0, help="this many children, in its session")
    parser.add_argument("--daemonise", action="store_true", help="one in a session of its own; itself exit")
    parser.add_argument(
        "--daemon-seconds", type=float, default=FOREVER_SECONDS, help="how long that one lives"
    )
    parser.add_argument("--flood", type=int, default=0, help="bytes for standard output; -1: without end")
    parser.add_argument("--touch", default="", help="a file to make; on a frozen disk it sleeps there")
    parser.add_argument("--beat", action="store_true")
    parser.add_argument("--ignore", action="append", default=[], help="names of signals that don't end it")
    parser.add_argument("--exit-after", type=float, default=FOREVER_SECONDS)
    parser.add_argument("--code", type=int, default=0)
    parser.add_argument("--die", default="", help="the name of the signal to end itself with")
    parser.add_argument("--crash-core", action="store_true", help="end by SIGSEGV, a core dump allowed")
    parser.add_argument("--term-code", type=int, default=0, help="the code after SIGTERM")
    wanted = parser.parse_args(arguments)
    if wanted.erase_environment and not is_erased:
        again = [
            sys.executable,
            "-I",
            "-S",
            __file__,
            path,
            "--again",
            ledger.agent,
            ledger.attempt,
            *arguments,
        ]
        os.execve(sys.executable, again, {})
    for _ in range(wanted.fork):
        descend(ledger, FOREVER_SECONDS, leaves_session=False)
    if wanted.daemonise:
        descend(ledger, wanted.daemon_seconds, leaves_session=True)
    ignored = {signal.Signals["SIG" + name] for name in wanted.ignore}
    deadline = time.monotonic() + wanted.exit_after
    if wanted.touch:
        os.close(os.open(wanted.touch, os.O_CREAT | os.O_WRONLY, 0o600))
    if wanted.flood:
        flood(wanted.flood)
    live(ledger, deadline, BEAT_SECONDS if wanted.beat else FOREVER_SECONDS, ignored, wanted.term_code)
    if wanted.crash_core:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        die(ledger, signal.SIGSEGV)
    if wanted.die:
        die(ledger, signal.Signals["SIG" + wanted.die])
    ledger.end(wanted.code)
    os._exit(wanted.code)


def live(ledger: Ledger, deadline: float, beat: float, ignored: set[signal.Signals], term_code: int) -> None:
    """Beat and tell of signals until the deadline; SIGTERM that is not ignored ends the process."""
    while (left := deadline - time.monotonic()) > 0:
        if beat < FOREVER_SECONDS:
            ledger.tell("BEAT", os.getpid())
        info = next_signal(min(left, beat))
        if info is None:
            continue
        ledger.tell("SIG", os.getpid(), info.si_signo, info.si_pid)
        if info.si_signo == signal.SIGTERM and signal.SIGTERM not in ignored:
            ledger.end(term_code)
            os._exit(term_code)


def next_signal(seconds: float) -> signal.struct_siginfo | None:
    """The next signal of those that are waited for, None for none in that time."""
    info = signal.sigtimedwait(WATCHED, seconds)
    # Stopped and continued until after the time is over, CPython 3.11 returns what was never filled in.
    return info if info is not None and info.si_signo in WATCHED else None


def descend(ledger: Ledger, seconds: float, *, leaves_session: bool) -> None:
    """A child that tells of itself and of signals, and ends by none but SIGKILL; returns once it has told."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        if leaves_session:
            os.setsid()
        ledger.tell("FORK", os.getpid(), start_ticks())
        os.close(writer)
        os.close(reader)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            info = next_signal(left)
            if info is not None:
                ledger.tell("SIG", os.getpid(), info.si_signo, info.si_pid)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)


def flood(size: int) -> None:
    """Write to standard output."""
    block = (b"y" * 1023 + b"\n") * 64
    left = size
    while left:
        written = os.write(1, block if left < 0 else block[:left])
        left -= written if left > 0 else 0


def die(ledger: Ledger, number: signal.Signals) -> NoReturn:
    """End by a signal, whatever is blocked."""
    ledger.end(-number)
    if number not in DEADLY:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(97)


def sit(ledger: Ledger) -> NoReturn:
    """Tell of signals until standard input ends."""
    import select

    while not select.select([0], [], [], 0)[0]:
        info = next_signal(0.02)
        if info is not None:
            ledger.tell("SIG", os.getpid(), info.si_signo, info.si_pid)
    ledger.end(0)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
