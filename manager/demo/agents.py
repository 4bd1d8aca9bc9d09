"""The ten agents of the demo: ordinary programs, and the ledger that they keep without knowing outlive.

The first act of each is a START line in the ledger, with its own /proc/self/stat; processes that it makes add a CHILD
line, and one that ends by itself an END line with how. What the demo claims is computed from these lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from manager.process.procfs import read_stat
from manager.spec import AgentSpec
from manager.view import database_url

LIFETIME_SECONDS = 300  # each ends by itself after that, whatever becomes of the demo

_SHELL = """
note() { read -r stat </proc/self/stat; echo "$1 $OUTLIVE_AGENT $OUTLIVE_ATTEMPT ${2:-$stat}" >>"$DEMO_LEDGER"; }
note START
"""
_PYTHON = """
import os
def note(word, rest=None):
    rest = rest or open("/proc/self/stat").read().strip()
    line = f"{word} {os.environ['OUTLIVE_AGENT']} {os.environ['OUTLIVE_ATTEMPT']} {rest}\\n"
    ledger = os.open(os.environ["DEMO_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, line.encode())
    os.close(ledger)
note("START")
"""
_AWAIT_CUE = 'n=0; until [ -e "$DEMO_CUE" ] || [ $n -ge 3000 ]; do n=$((n + 1)); sleep 0.1; done\n'

CLOCK = "n=0; while [ $n -lt 1500 ]; do date; n=$((n + 1)); sleep 0.2; done"
FAMILY = f"(note CHILD; exec sleep {LIFETIME_SECONDS}) & (note CHILD; exec sleep {LIFETIME_SECONDS}) & wait"
POLITE = f"""
trap 'echo tidied up; kill $!; note END "code 0"; exit 0' TERM
(note CHILD; exec sleep {LIFETIME_SECONDS}) & wait
"""
IMPORTER = f'{_AWAIT_CUE}echo "row 4711: cannot read the date" >&2; note END "code 7"; exit 7'
VICTIM = f'{_AWAIT_CUE}note END "signal 9"; kill -KILL $$'
QUICK = 'print(sum(range(10**6)), flush=True); note("END", "code 0")'
COUNTER = f"""
import time
for number in range({LIFETIME_SECONDS * 10}):
    print(number, flush=True)
    time.sleep(0.1)
"""
SERVER = f"""
import os, signal, socket
signal.alarm({LIFETIME_SECONDS})
with socket.create_server(("127.0.0.1", 0)) as listener:
    with open(os.environ["DEMO_PORT"] + ".new", "w") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(file.name, os.environ["DEMO_PORT"])
    connection, _ = listener.accept()
    number = 0
    while connection.recv(100):
        number += 1
        connection.sendall(b"process %d, answer %d" % (os.getpid(), number))
    signal.pause()
"""
DAEMON = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    note("CHILD")
    time.sleep({LIFETIME_SECONDS})
    os._exit(0)
os.wait()
time.sleep({LIFETIME_SECONDS})
"""
STUBBORN = f"""
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM? No.", flush=True))
until = time.monotonic() + {LIFETIME_SECONDS}
while time.monotonic() < until:
    time.sleep(1)
"""

_CAST = {
    "clock": ("sh", CLOCK, "prints the time, five times a second"),
    "counter": ("python", COUNTER, "counts, ten times a second"),
    "server": ("python", SERVER, "answers on a TCP connection"),
    "family": ("sh", FAMILY, "has two children"),
    "daemon": ("python", DAEMON, "hides a grandchild in a session of its own"),
    "polite": ("sh", POLITE, "tidies up at SIGTERM, then exits 0"),
    "stubborn": ("python", STUBBORN, "does not obey SIGTERM"),
    "importer": ("sh", IMPORTER, "will exit with code 7 while nobody is there"),
    "victim": ("sh", VICTIM, "will die by a SIGKILL while nobody is there"),
    "quick": ("python", QUICK, "does its work and completes"),
}
END_UNWATCHED = ("importer", "victim")
COMPLETES = "quick"


class Line(NamedTuple):
    """One line of the ledger. `rest`: a /proc/PID/stat line (START, CHILD), `code N` or `signal N` (END)."""

    word: str
    name: str
    attempt: int
    rest: str

    @property
    def pid(self) -> int:
        """The process that wrote a START or CHILD line."""
        return int(self.rest.partition(" ")[0])

    def is_alive(self) -> bool:
        """Whether that very process still executes something."""
        found = read_stat(self.pid)
        ticks = int(self.rest.rpartition(")")[2].split()[19])
        return found is not None and not found.is_ended and found.start_ticks == ticks


class Stage:
    """The demo's folder: the home, the ledger, the cue, the server's port. Building one touches nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.url = database_url(self.home, None)
        self.cue = folder / "cue"
        self.port = folder / "port"
        self._ledger = folder / "ledger"

    def agents(self) -> Iterator[tuple[str, AgentSpec]]:
        """Name and spec of each agent; the same every time it is asked."""
        env = {"DEMO_LEDGER": str(self._ledger), "DEMO_CUE": str(self.cue), "DEMO_PORT": str(self.port)}
        for name, (kind, program, _) in _CAST.items():
            start = ("sh", "-c", _SHELL) if kind == "sh" else (sys.executable, "-I", "-S", "-c", _PYTHON)
            command = (*start[:-1], f"{start[-1]}{program}")
            yield name, AgentSpec(command=command, cwd=str(self.folder), env=env, labels={"kind": kind})

    def ledger(self, word: str | None = None) -> list[Line]:
        """What the agents wrote so far, in order: all of it, or the lines that begin with `word`."""
        if not self._ledger.exists():
            return []
        lines = []
        for text in self._ledger.read_text(encoding="utf-8").splitlines():
            kind, name, attempt, rest = text.split(" ", 3)
            lines.append(Line(kind, name, int(attempt), rest))
        return [line for line in lines if word in (None, line.word)]

    def alive(self) -> list[Line]:
        """The processes of the ledger that still execute something."""
        return [line for line in self.ledger() if line.word != "END" and line.is_alive()]


def about(name: str) -> str:
    """What kind of program an agent is, for people."""
    kind, _, text = _CAST[name]
    return f"{kind}: {text}"
