"""Promises about signals and starts, by the system calls that `strace -f -ttt -T -yy` saw of our processes.

Without a trace nothing is said. Calls of agents are not ours; what a shim sends to what its agent left is recorded with
the end. A durable event is one whose write-ahead log was synced after the event's time, with success, and by the time
of the call: begun after the one and done before the other. In PostgreSQL that is the server's affair.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation

LINE = re.compile(r"^(?:(\d+) +)?(\d+\.\d+) (\w+)\((.*)")
RESUMED = re.compile(r"^(?:(\d+) +)?(\d+\.\d+) <\.\.\. (\w+) resumed>(.*)")
SUCCESS = re.compile(r"\) += 0(?: <(\d+\.\d+)>)?$")
TARGET = re.compile(r"\d+<pid:(\d+)>, ([A-Z0-9_]+)")
NUMBERED = {"kill": 0, "tkill": 0, "tgkill": 1}  # which argument is the process
WAL = "events.db-wal>"
SYNCS = ("fsync", "fdatasync")
ANNOUNCES = {
    "SIGTERM": {"SIGTERM_SENT"},
    "SIGCONT": {"SIGTERM_SENT"},
    "SIGKILL": {"SIGKILL_SENT", "ZOMBIE_REAPED"},  # what it left is killed once its end is recorded
}


@dataclass(frozen=True)
class Call:
    """One system call; `at` is wall-clock microseconds, `arguments` the rest of strace's line.

    `done_at`: when it was seen to return 0; None where it was not.
    """

    pid: int
    at: int
    name: str
    arguments: str
    done_at: int | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.arguments.split(' = ')[0]} by {self.pid}"


def check_trace(case: Case) -> Iterator[Violation]:
    """Every signal that we sent, and every program that we executed, as far as a trace tells."""
    calls = [call for path in sorted((case.run / "trace").glob("*")) for call in read_trace(path)]
    if not calls or case.has_clock_fault:
        return
    traced = Traced(case, calls)
    for call in calls:
        if call.name in NUMBERED and call.pid not in traced.agents:
            yield from traced.numbered(call)
        elif call.name == "pidfd_send_signal" and call.pid not in traced.agents:
            yield from traced.by_handle(call)
        elif call.name == "execve" and call.pid in traced.mains:
            yield from traced.executed(call)


class Traced:
    """The calls of a run, and what is known of the processes that made them or were meant."""

    def __init__(self, case: Case, calls: list[Call]) -> None:
        self._case = case
        self._is_elsewhere = (case.run / "database").exists()
        self._syncs = [
            (call.at, call.done_at)
            for call in calls
            if call.name in SYNCS and WAL in call.arguments and call.done_at is not None
        ]
        self.coordinators = {row.body["pid"] for row in case.rows if row.type == "COORDINATOR_STARTED"}
        self.mains: dict[int, list[Attempt]] = {}
        self.shims: dict[int, int] = {}
        self.agents: set[int] = {line.pid for lines in case.lines.values() for line in lines}
        self._members: dict[int, list[Attempt]] = {}
        self._is_whole = True
        for attempt in case.attempts:
            identity = case.record(attempt, "identity") or attempt.process or {}
            self._is_whole = self._is_whole and (case.tells(attempt) or attempt.first("STARTED") is None)
            if "pid" in identity:
                self.mains.setdefault(identity["pid"], []).append(attempt)
                self.shims[identity["shim_pid"]] = identity["pid"]
                self.agents.add(identity["pid"])
            for pid in case.pids(attempt):
                self._members.setdefault(pid, []).append(attempt)

    def numbered(self, call: Call) -> Iterator[Violation]:
        """A signal by number: to oneself, or by a shim to the group of its own child."""
        words = [word.strip(" )") for word in call.arguments.split(",")]
        number = int(words[NUMBERED[call.name]].split("<")[0])
        if words[NUMBERED[call.name] + 1].split(")")[0] == "0":
            return
        is_own = number == call.pid or number in self.coordinators
        if not is_own and (call.pid not in self.shims or number != -self.shims[call.pid]):
            yield Violation("right target", f"{call}: by number, not through a pidfd")

    def by_handle(self, call: Call) -> Iterator[Violation]:
        """A signal through a pidfd: to a process of an attempt, after an event that is durable."""
        found = TARGET.match(call.arguments)
        if found is None or found[2] == "0":
            return
        pid, name = int(found[1]), found[2]
        if pid in self.coordinators or pid in self.shims:
            if pid in self.shims:
                yield Violation("right target", f"{call}: to a shim")
            return
        attempts = self._members.get(pid, [])
        if not attempts:
            if self._is_whole:
                yield Violation("right target", f"{call}: to a process that is none of an agent's")
            return
        if call.pid in self.shims:
            if pid == self.shims[call.pid] or name != "SIGKILL":
                yield Violation("right target", f"{call}: a shim signals what its agent left, and that only")
            return
        rows = [row for attempt in attempts for row in attempt.rows if _announces(row, name)]
        if not any(self._is_durable(row, call.at) for row in rows):
            where = attempts[-1]
            evidence = f"{call}: no durable event announces it"
            yield Violation("signal after event", evidence, None, where.agent, where.number)

    def executed(self, call: Call) -> Iterator[Violation]:
        """A program's execution, after its intent is durable."""
        attempts = self.mains[call.pid]
        rows = [row for attempt in attempts for row in attempt.of("SPAWNING")]
        if not any(self._is_durable(row, call.at) for row in rows):
            where = attempts[-1]
            evidence = f"{call}: its SPAWNING was not durable by then"
            yield Violation("intent before exec", evidence, None, where.agent, where.number)

    def _is_durable(self, row: Row, at: int) -> bool:
        if row.recorded_at > at or self._is_elsewhere:
            return row.recorded_at <= at
        return any(row.recorded_at <= begun_at and done_at <= at for begun_at, done_at in self._syncs)


def _announces(row: Row, name: str) -> bool:
    if row.type == "SIGNAL_SENT":
        return name in (_name(row.body.get("signal", 0)), f"SIG_{row.body.get('signal')}")
    return row.type in ANNOUNCES.get(name, ())


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT_{number - 32}"


def read_trace(path: Path) -> Iterator[Call]:
    """The calls in one file; with `strace -ff` the file's name ends with the process."""
    own = path.suffix.removeprefix(".")
    begun: dict[int, Call] = {}
    for line in path.read_text(errors="replace").splitlines():
        found = LINE.match(line) or RESUMED.match(line)
        if found is None:
            continue
        pid = int(found[1] or (own if own.isdigit() else "0"))
        at, rest = _microseconds(found[2]), found[4]
        returned = SUCCESS.search(rest)
        if found.re is RESUMED:
            if (call := begun.pop(pid, None)) is not None:
                yield replace(call, done_at=at if returned else None)
        elif rest.endswith("<unfinished ...>"):
            begun[pid] = Call(pid, at, found[3], rest)
        else:
            took = _microseconds(returned[1]) if returned and returned[1] else None
            yield Call(pid, at, found[3], rest, None if took is None else at + took)
    yield from begun.values()


def _microseconds(seconds: str) -> int:
    return round(float(seconds) * 1e6)
