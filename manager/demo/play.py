"""The acts. What is said is read from processes, the log and the ledger at that moment; nothing is hard-coded."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from eventstore.record import RecordedEvent
from manager.cli.times import time_text
from manager.demo.agents import COMPLETES, END_UNWATCHED, Stage, about
from manager.demo.coordinator import READY
from manager.demo.facts import Facts, gather
from manager.demo.screen import Screen
from manager.manager import Manager
from manager.process.identity import prove_child
from manager.process.signalling import send_signal
from manager.status import AgentStatus
from manager.view import View
from projections.quantities import duration_text, size_text
from projections.sentences import exit_text, sentence

PATIENCE_SECONDS = 30.0  # for what must happen: a busy machine is slow, a broken promise takes for ever
GRACE = (1.0, 0.5, 5.0)  # waits of the stop at the end: SIGTERM, SIGTERM to the tree, SIGKILL
COLUMNS = ("NAME", "STATE", "ATTEMPT", "PID", "UP", "MEMORY", "PROCS", "EXIT")
TOLD = ("importer", "stubborn")  # the agents whose events are shown

_T = TypeVar("_T")
# The same modules as ours, whatever way they were found, and nothing from the current directory.
_COORDINATOR = (
    "import sys; sys.path = sys.argv[2:]; from manager.demo.coordinator import main; main(sys.argv[1])"
)


class PlayStopped(Exception):
    """Something that must happen did not happen in time, or not at all."""


class Claim(NamedTuple):
    """One promise, and whether what was found keeps it."""

    is_kept: bool
    text: str


class Play:
    """The acts in order. Building one starts nothing."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen
        self._claims: list[Claim] = []
        self._count = len(list(stage.agents()))

    def perform(self) -> tuple[list[Claim], Facts]:
        """All acts. Raises `PlayStopped`, and what `Manager.open` raises, with agents still running."""
        began_at = time.monotonic()
        with self._first_coordinator() as coordinator, self._connected() as ask_server:
            self._await_all_started()
            self._kill(coordinator)
            self._while_nobody_is_there(ask_server)
            with Manager.open(self._stage.home, self._stage.url, actor="second coordinator") as manager:
                self._recover(manager, ask_server)
                self._stop_all(manager)
        self._look_back()
        facts = self._judge()
        self._screen.gap()
        self._screen.say(f"Played in {time.monotonic() - began_at:.1f} s.")
        return self._claims, facts

    @contextlib.contextmanager
    def _first_coordinator(self) -> Iterator[subprocess.Popen[str]]:
        self._screen.act("A coordinator starts ten agents")
        command = [sys.executable, "-I", "-c", _COORDINATOR, str(self._stage.folder), *sys.path]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                self._screen.say(
                    f"Process {process.pid} is the coordinator. It calls ensure(name, spec) for each of them:"
                )
                assert process.stdout is not None
                for line in process.stdout:
                    name, _, pid = line.strip().partition(" ")
                    if name == READY:
                        break
                    self._screen.say(f"  {name:<9} process {pid:<8} {about(name)}")
                else:
                    raise PlayStopped("the coordinator ended before all agents were started; see above")
                yield process
            finally:
                _sigkill(process.pid)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Callable[[], str]]:
        port = until(lambda: self._stage.port.exists() and self._stage.port.read_text(), "server listens")
        with socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE_SECONDS) as connection:

            def ask() -> str:
                connection.sendall(b"?")
                return connection.recv(100).decode()

            yield ask

    def _await_all_started(self) -> None:
        def all_there() -> bool:
            children = [line.name for line in self._stage.ledger("CHILD")]
            made = [children.count(name) for name in ("family", "daemon", "polite")]
            return len(self._stage.ledger("START")) >= self._count and made == [2, 1, 1]

        until(all_there, "all agents have started")
        lines = len(self._stage.ledger("START"))
        self._screen.say(f"Each has put a START line into a ledger, as its own first act: {lines} lines.")
        self._screen.say(f"{COMPLETES} has completed.")

    def _kill(self, coordinator: subprocess.Popen[str]) -> None:
        self._screen.act("The coordinator is killed: SIGKILL, no chance to tidy up")
        _sigkill(coordinator.pid)
        code = coordinator.wait(PATIENCE_SECONDS)
        alive = self._living_names()
        self._screen.say(
            f"Process {coordinator.pid} died of signal {-code}. {len(alive)} agents run on without it."
        )
        self._claim(code == -signal.SIGKILL, "the coordinator was killed by SIGKILL")
        self._claim(len(alive) == self._count - 1, "all agents that ran outlived it")

    def _while_nobody_is_there(self, ask_server: Callable[[], str]) -> None:
        self._screen.act("Nobody is there, and life goes on")
        counted = self._counted()
        self._stage.cue.touch()
        until(lambda: not self._living_names() & set(END_UNWATCHED), "two agents end")
        for line in self._stage.ledger("END"):
            if line.name in END_UNWATCHED:
                self._screen.say(f"{line.name} ends with {line.rest}, and nobody sees it.")
        later = until(lambda: (now := self._counted()) > counted + 5 and now, "counter counts on")
        self._screen.say(f"counter was at {counted} when the coordinator had died, and is at {later}.")
        self._screen.say(f"server, on a connection from before: {ask_server()}.")

    def _recover(self, manager: Manager, ask_server: Callable[[], str]) -> None:
        self._screen.act("A new coordinator opens the home: it replays the log and re-attaches")
        report = manager.recovery
        assert report is not None
        self._screen.say(
            f"Recovery took {report.duration_seconds * 1000:.0f} ms: {report.reattached} agents re-attached, "
            f"{report.ended} had ended, {report.lost} lost, {report.never_started} never started."
        )
        before = len(self._stage.ledger("START"))
        for name, spec in self._stage.agents():
            manager.ensure(name, spec)
        more = len(self._stage.ledger("START")) - before
        self._screen.say(
            f"It runs the same script, ensure(name, spec) for all of them: {more} more START lines."
        )
        self._screen.say(f"server: {ask_server()}.")
        self._screen.gap()
        found = manager.statuses(all=True)
        self._screen.table(COLUMNS, [_row(status) for status in found])
        alive = self._living_names()
        self._claim(report.reattached == len(alive), f"all {len(alive)} survivors were re-attached")
        self._claim(report.ended == len(END_UNWATCHED), "the ends that nobody saw were found")

    def _stop_all(self, manager: Manager) -> None:
        waits = ", ".join(f"{seconds:g} s" for seconds in GRACE)
        self._screen.act("It stops them all, side by side, in three stages")
        began_at = time.monotonic()
        stopped = manager.stop_all(grace=GRACE, reason="the demo is over")
        self._screen.say(f"SIGTERM, SIGTERM to the tree, SIGKILL to the tree; waits at most {waits}:")
        for status in stopped:
            how = "no exit known" if status.exit is None else exit_text(status.exit.as_json())
            self._screen.say(f"  {status.name:<9} {status.state:<10} {how}")
        self._screen.say(f"That took {time.monotonic() - began_at:.1f} s.")

    def _look_back(self) -> None:
        self._screen.act("What the log tells of two of them")
        with contextlib.closing(View.open(self._stage.home, self._stage.url)) as view:
            for name in TOLD:
                self._screen.say(f"{name}:")
                for event in view.reader.events(stream=f"agent/{view.agent(name, vitals=False).id}"):
                    self._screen.say(f"  {_clock(event.occurred_at)}  {event.type:<14} {_told(event)}")

    def _judge(self) -> Facts:
        self._screen.act("Is all that true?")
        facts = gather(self._stage)
        is_one_each = not facts.duplicates and not facts.unmatched
        self._claim(is_one_each, "each attempt in the log is one START line in the ledger")
        self._claim(facts.exits_known == facts.exits, "every exit is known")
        self._claim(not facts.contradicted, "and is what the agent itself had written before it ended")
        self._claim(not facts.processes_left, "no process of any tree is left, by the ledger's pids")
        self._claim(facts.is_intact, "the log's hash chain, computed anew, is what was written")
        for claim in self._claims:
            self._screen.verdict(claim.text, is_kept=claim.is_kept)
        return facts

    def _claim(self, is_kept: bool, text: str) -> None:
        self._claims.append(Claim(is_kept, text))

    def _living_names(self) -> set[str]:
        return {line.name for line in self._stage.alive()}

    def _counted(self) -> int:
        with contextlib.closing(View.open(self._stage.home, self._stage.url)) as view:
            path = view.log_path(view.agent("counter", vitals=False), stream="stdout")
        whole, _, _ = path.read_text(encoding="ascii").rpartition("\n")
        return int(whole.rpartition("\n")[2] or 0)


def until(look: Callable[[], _T], what: str) -> _T:
    """The first true answer of `look`. Raises `PlayStopped` when there is none in 30 seconds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise PlayStopped(
                f"waited {PATIENCE_SECONDS:g} s in vain for this: {what}; is the machine very busy?"
            )
        time.sleep(0.02)
    return answer


def _sigkill(pid: int) -> None:
    process = prove_child(pid)  # None once it was waited for
    if process is not None:
        with process:
            send_signal(process, signal.SIGKILL)


def _told(event: RecordedEvent) -> str:
    data = json.loads(event.data)
    told = sentence(event.type, data)
    if event.type == "SPAWNING":
        told = told.partition(":")[0]  # the program is long
    if event.type == "ZOMBIE_REAPED" and data["is_recovered"] and data["ended_at"] is not None:
        told += f"; it was at {_clock(data['ended_at'])}"
    return f"{told} [{event.actor}]"


def _clock(instant: int) -> str:
    return time_text(instant, utc=False).partition(" ")[2]


def _row(status: AgentStatus) -> tuple[str, ...]:
    return (
        status.name,
        status.state,
        str(status.attempt),
        str(status.pid) if status.is_alive else "-",
        duration_text(status.runtime_seconds),
        size_text(status.vitals.memory_bytes),
        "-" if status.vitals.processes is None else str(status.vitals.processes),
        "-" if status.exit is None else exit_text(status.exit.as_json()),
    )
