"""Everything that is known about a run, gathered once; what each promise is then held against."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.oracle.fold import Agent, Attempt, fold
from tests.faults.oracle.ledger import Fault, Line, Start, read_faults, read_ledger, read_lines
from tests.faults.oracle.log import Row, read_rows, reading, rows_of
from tests.faults.oracle.processes import Process, living_processes

Key = tuple[str, int]


@dataclass(frozen=True)
class Case:
    """One reading of a run. `projected` are rows of the tables `agents` and `attempts`, read with the log."""

    home: Path
    run: Path
    rows: list[Row]
    snapshots: list[tuple[str, list[Row]]]
    projected: dict[str, list[dict[str, Any]]]
    agents: dict[str, Agent]
    lines: dict[Key, list[Line]]
    canaries: list[Line]
    faults: list[Fault]
    clients: list[dict[str, Any]]
    views: list[dict[str, Any]]
    processes: dict[int, Process]
    offset_ns: int

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts in the log."""
        return [attempt for agent in self.agents.values() for attempt in agent.attempts.values()]

    @property
    def starts(self) -> list[Start]:
        """All first lines of agents."""
        return [line for lines in self.lines.values() for line in lines if isinstance(line, Start)]

    def attempt(self, key: Key) -> Attempt | None:
        """The attempt in the log, if it is there."""
        agent = self.agents.get(key[0])
        return None if agent is None else agent.attempts.get(key[1])

    def told(self, key: Key, kind: str) -> list[Line]:
        """An attempt's lines of one kind."""
        return [line for line in self.lines.get(key, ()) if line.kind == kind]

    def directory(self, attempt: Attempt) -> Path:
        """Where the attempt's records are."""
        spawning = attempt.first("SPAWNING")
        told = "" if spawning is None else spawning.body.get("directory", "")
        return self.home / (told or f"agents/{attempt.agent}/{attempt.number}")

    def record(self, attempt: Attempt, name: str) -> dict[str, Any]:
        """A record of the attempt's directory; empty when it is not there or damaged."""
        try:
            body = json.loads((self.directory(attempt) / f"{name}.json").read_bytes())["body"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return body if isinstance(body, dict) else {}

    def pids(self, attempt: Attempt) -> set[int]:
        """The attempt's main process and its shim, by the log and by the shim's own record."""
        known = [attempt.process or {}, self.record(attempt, "identity")]
        found = {one.get(name) for one in known for name in ("pid", "shim_pid")}
        found.update(line.pid for line in self.told((attempt.agent, attempt.number), "START"))
        return {pid for pid in found if pid is not None}

    def done_to(self, attempt: Attempt, *targets: str) -> list[Fault]:
        """The faults on these targets that cover the attempt."""
        pids = self.pids(attempt)
        return [
            fault
            for fault in self.faults
            if fault.target in targets and fault.covers(attempt.agent, attempt.number, pids)
        ]

    def boottime(self, microseconds: int) -> int:
        """A time of the log in nanoseconds since boot."""
        return microseconds * 1000 - self.offset_ns

    @property
    def has_clock_fault(self) -> bool:
        """Whether times of the log and of the ledger cannot be compared."""
        return any(fault.kind == "clock" or fault.target == "clock" for fault in self.faults)

    def is_alive(self, start: Start) -> bool:
        """Whether the process that wrote this line executes now; False where that cannot be seen."""
        process = self.processes.get(start.pid)
        return (
            process is not None
            and process.pid_namespace == start.pid_namespace
            and process.start_ticks == start.start_ticks
            and process.boot_id == start.boot_id
            and not process.is_zombie
        )


def gather(run: Path) -> Case:
    """Read everything. Raises `Undecidable`."""
    processes = living_processes()  # before the log: who ends in between is in the log as ended at worst
    lines: dict[Key, list[Line]] = defaultdict(list)
    for line in read_ledger(run / "ledger"):
        lines[line.key].append(line)
    with reading(run / "home" / "events.db") as database:
        rows = rows_of(database)
        projected = {name: _table(database, name) for name in ("agents", "attempts")}
    snapshots = sorted((run / "snapshots").glob("*.db"), key=lambda path: int(path.stem))
    return Case(
        home=run / "home",
        run=run,
        rows=rows,
        snapshots=[(path.name, read_rows(path)) for path in snapshots],
        projected=projected,
        agents=fold(rows),
        lines=dict(lines),
        canaries=read_ledger(run / "canaries"),
        faults=read_faults(run / "faults.jsonl"),
        clients=read_lines(run / "clients.jsonl"),
        views=read_lines(run / "views.jsonl"),
        processes=processes,
        offset_ns=_offset(run / "clock"),
    )


def _table(database: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
    found = database.execute(f"SELECT * FROM {name}")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _offset(path: Path) -> int:
    """The wall clock minus the clock since boot, in nanoseconds; as it is now where the run does not say."""
    if path.exists():
        clock = json.loads(path.read_text())
        return int(clock["realtime_ns"]) - int(clock["boottime_ns"])
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
