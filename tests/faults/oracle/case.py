"""Everything that is known about a run, gathered once; what each promise is then held against."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.oracle.faults import Fault, read_faults
from tests.faults.oracle.fold import Agent, Attempt, fold
from tests.faults.oracle.ledger import Ask, Line, Start, read_asks, read_ledger, read_lines
from tests.faults.oracle.log import Database, Row, read_rows, reading, reading_at, rows_of
from tests.faults.oracle.processes import Process, living_processes
from tests.faults.oracle.records import Damaged, read_record

Key = tuple[str, int]
TICK_NS = 10_000_000  # of the clock in /proc
NEVER = 1 << 63


@dataclass
class Case:
    """One reading of a run; nothing of it changes afterwards.

    `log` are all its rows, `rows` those of the run's own home; `projected` are rows of the tables `agents` and
    `attempts`, read with the log; `read_at`: when the ledger was read.
    """

    home: Path
    run: Path
    log: list[Row]
    rows: list[Row]
    snapshots: list[tuple[str, list[Row]]]
    projected: dict[str, list[dict[str, Any]]]
    agents: dict[str, Agent]
    lines: dict[Key, list[Line]]
    canaries: list[Line]
    faults: list[Fault]
    asks: list[Ask]
    clients: list[dict[str, Any]]
    views: list[dict[str, Any]]
    secrets: list[str]
    processes: dict[int, Process]
    offset_ns: int
    read_at: int
    _records: dict[Path, dict[str, Any] | Damaged | None] = field(default_factory=dict)
    _pids: dict[Key, set[int]] = field(default_factory=dict)

    # --- agents and their attempts ------------------------------------------------------------------------------

    @cached_property
    def attempts(self) -> list[Attempt]:
        """All attempts in the log."""
        return [attempt for agent in self.agents.values() for attempt in agent.attempts.values()]

    @cached_property
    def starts(self) -> list[Start]:
        """All first lines of agents."""
        return [line for lines in self.lines.values() for line in lines if isinstance(line, Start)]

    def attempt(self, key: Key) -> Attempt | None:
        """The attempt in the log, if it is there."""
        agent = self.agents.get(key[0])
        return None if agent is None else agent.attempts.get(key[1])

    def start(self, attempt: Attempt) -> Start | None:
        """The attempt's first line, if it ever spoke."""
        lines = self.lines.get((attempt.agent, attempt.number), ())
        return next((line for line in lines if isinstance(line, Start)), None)

    def told(self, key: Key, kind: str) -> list[Line]:
        """An attempt's lines of one kind."""
        return [line for line in self.lines.get(key, ()) if line.kind == kind]

    def tells(self, attempt: Attempt) -> bool:
        """Whether its program is one that writes to the ledger: its silence means something."""
        spawning = attempt.first("SPAWNING")
        command = [] if spawning is None else spawning.body.get("spec", {}).get("command", [])
        return len(command) > 4 and str(command[3]).endswith("/agent.py")

    def pids(self, attempt: Attempt) -> set[int]:
        """The attempt's processes and its shim: by the log, by the shim's own record and by the ledger."""
        key = (attempt.agent, attempt.number)
        if key not in self._pids:
            known = [attempt.process or {}, self.record(attempt, "identity")]
            found = {one.get(name) for one in known for name in ("pid", "shim_pid")}
            found.update(line.pid for line in self.lines.get(key, ()))
            self._pids[key] = {pid for pid in found if pid is not None}
        return self._pids[key]

    # --- records ------------------------------------------------------------------------------------------------

    def directory(self, attempt: Attempt) -> Path:
        """Where the attempt's records are."""
        spawning = attempt.first("SPAWNING")
        told = "" if spawning is None else spawning.body.get("directory", "")
        return self.home / (told or f"agents/{attempt.agent}/{attempt.number}")

    def record(self, attempt: Attempt, name: str) -> dict[str, Any]:
        """A record of the attempt's directory; empty when it is not there or damaged."""
        found = self.record_or_damage(attempt, name)
        return found if isinstance(found, dict) else {}

    def record_or_damage(self, attempt: Attempt, name: str) -> dict[str, Any] | Damaged | None:
        """A record of the attempt's directory; None when there is no such file."""
        path = self.directory(attempt) / f"{name}.json"
        if path not in self._records:
            try:
                self._records[path] = read_record(path, f"{attempt.agent}/{attempt.number}")
            except Damaged as damage:
                self._records[path] = damage
        return self._records[path]

    # --- faults -------------------------------------------------------------------------------------------------

    def done_to(self, attempt: Attempt, *targets: str, before: int = NEVER) -> list[Fault]:
        """The faults on these targets (all for none named) that cover the attempt and were done before that time."""
        pids = self.pids(attempt)
        return [
            fault
            for fault in self.faults
            if (not targets or fault.target in targets)
            and fault.at <= before
            and fault.covers(attempt.agent, attempt.number, pids)
        ]

    # --- time and processes -------------------------------------------------------------------------------------

    def boottime(self, microseconds: int) -> int:
        """A time of the log in nanoseconds since boot; past all times where clocks cannot be compared."""
        return NEVER if self.has_clock_fault else microseconds * 1000 - self.offset_ns

    @cached_property
    def has_clock_fault(self) -> bool:
        """Whether times of the log and of the ledger cannot be compared."""
        return any(fault.stops_time for fault in self.faults)

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
    boottime_ns, offset_ns = _clock(run / "clock")
    # Before the log: who ends in between is in the log as ended at worst.
    processes = living_processes(environment_since=boottime_ns // TICK_NS - 1)
    lines: dict[Key, list[Line]] = defaultdict(list)
    read_at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for line in read_ledger(run / "ledger"):
        lines[line.key].append(line)
    elsewhere = run / "database"
    log = reading_at(elsewhere.read_text()) if elsewhere.exists() else reading(run / "home" / "events.db")
    others = (run / "others").read_text().split() if (run / "others").exists() else []
    with log as database:
        everything = rows_of(database)
        projected = {
            name: [row for row in _table(database, name) if row["home"] not in others]
            for name in ("agents", "attempts")
        }
    rows = [row for row in everything if row.home not in others]
    snapshots = sorted((run / "snapshots").glob("*.db"), key=lambda path: int(path.stem))
    return Case(
        home=run / "home",
        run=run,
        log=everything,
        rows=rows,
        snapshots=[(path.name, read_rows(path)) for path in snapshots],
        projected=projected,
        agents=fold(rows),
        lines=dict(lines),
        canaries=read_ledger(run / "canaries"),
        faults=read_faults(run / "faults.jsonl"),
        asks=read_asks(run / "asks.jsonl"),
        clients=read_lines(run / "clients.jsonl"),
        views=read_lines(run / "views.jsonl"),
        secrets=_secrets(run / "secrets"),
        processes=processes,
        offset_ns=offset_ns,
        read_at=read_at,
    )


def _table(database: Database, name: str) -> list[dict[str, Any]]:
    found = database.execute(f"SELECT * FROM {name}")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _secrets(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _clock(path: Path) -> tuple[int, int]:
    """When the run began, since boot, and the wall clock minus that clock; in nanoseconds.

    Where the run does not say: the beginning of time, and what the clocks say now.
    """
    if path.exists():
        clock = json.loads(path.read_text())
        return int(clock["boottime_ns"]), int(clock["realtime_ns"]) - int(clock["boottime_ns"])
    return 0, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
