"""Agents that make it hard to end them: `python -I -S hostile.py LEDGER BEHAVIOUR`. Standard library only.

Each tells its START in the ledger first (see agent.py), then does its worst. Its whole tree ignores every signal that
can be ignored.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
from agent import Ledger, read, start_ticks  # type: ignore[import-not-found]

BOMB_SIZE = 150
PR_SET_CHILD_SUBREAPER = 36
SOMEBODY = 65534


def bomb(_: Ledger) -> None:
    """Forks as fast as it can, each process in a session of its own, up to a size, and again when some are killed."""
    for _number in range(7):
        try:
            if os.fork() == 0:
                os.setsid()
        except BlockingIOError:
            pass
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
                time.sleep(0.01)
        except BlockingIOError:
            time.sleep(0.001)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.002)


def daemons(ledger: Ledger) -> None:
    """Forks twice, five times over, so that its grandchildren are nobody's and lead sessions of their own."""
    for _number in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                ledger.tell("FORK", os.getpid(), start_ticks())
                sleep()
            os._exit(0)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def erased(ledger: Ledger) -> None:
    """Runs itself again without an environment, and daemonises: nothing in /proc tells whose it is."""
    if "again" not in sys.argv:
        more = [ledger.agent, ledger.attempt, "again"]
        os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, *sys.argv[1:3], *more], {})
    daemons(ledger)


def overwritten(_: Ledger) -> None:
    """Overwrites its arguments and its environment where the kernel reads them, as do those that it has forked."""
    os.fork()
    fields = read("/proc/self/stat").rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[48])  # arg_start and env_end, proc_pid_stat(5)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(b"X" * (end - begin))


def other_user(_: Ledger) -> None:
    """Becomes another user, for good, with a child that has done so, too."""
    os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
    os.fork()


def closed(_: Ledger) -> None:
    """Closes every descriptor that it has."""
    os.closerange(0, 1024)


def adopting(ledger: Ledger) -> None:
    """Takes over the orphans below it, so that they are not its shim's."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        daemons(ledger)
        os._exit(0)
    os.wait()


def tracing(_: Ledger) -> None:
    """Is traced by its own child, and stopped by it."""
    libc, ourselves = ctypes.CDLL(None), os.getpid()
    libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER_ANY
    if os.fork() == 0:
        libc.ptrace(16, ourselves, None, None)  # PTRACE_ATTACH
        sleep()


def changing(_: Ledger) -> None:
    """Executes one program after the other, in a process that stays the same."""
    os.execve("/bin/sh", ["sh", "-c", "exec sh -c 'exec sleep 1000'"], {})


def eat(_: Ledger) -> None:
    """Takes memory without end, once a file named after its ledger is there."""
    while not os.path.exists(sys.argv[1] + ".eat"):
        time.sleep(0.01)
    eaten = []
    while True:
        eaten.append(bytearray(1 << 20))


BEHAVIOURS: dict[str, Callable[[Ledger], None]] = {
    one.__name__: one
    for one in (daemons, erased, overwritten, other_user, closed, adopting, tracing, changing, bomb)
}


def sleep() -> None:
    """Go on for ever."""
    while True:
        time.sleep(1000)


def main(arguments: list[str]) -> None:
    """Tell, then behave."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    path, behaviour, *more = arguments
    agent, attempt = more[:2] if more else (os.environ["OUTLIVE_AGENT_ID"], os.environ["OUTLIVE_ATTEMPT"])
    ledger = Ledger(path, agent, attempt)
    if not more:
        ledger.start()
    eat(ledger) if behaviour == "eat" else BEHAVIOURS[behaviour](ledger)
    sleep()


if __name__ == "__main__":
    main(sys.argv[1:])
