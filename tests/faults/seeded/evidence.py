"""A copy of a run that can be made to say what a manager with a bug would have left.

The bug is in the manager, not in the file: a changed log gets dense positions and a chain that is computed anew, and
tables that agree with it. What else could contradict the change, and would not have in that manager's run, is removed:
snapshots, printed views, status files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import uuid
from binascii import crc32
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventstore import chain
from tests.faults.oracle.log import COLUMNS, Row, read_rows
from tests.faults.oracle.rows import shapes

TABLES = ("events", "agents", "attempts")


@dataclass
class Event:
    """One row that can be changed: `columns` as in the table, `body` instead of `data`."""

    columns: dict[str, Any]
    body: dict[str, Any]
    place: int = 0  # its position in the true log, or that of the event that it was put behind

    @property
    def type(self) -> str:
        """The event's type."""
        return str(self.columns["type"])

    @property
    def agent(self) -> str:
        """The agent's id, empty for the home's events."""
        kind, _, name = self.columns["stream"].partition("/")
        return name if kind == "agent" else ""

    def copy(self, type_: str, body: dict[str, Any]) -> Event:
        """Another event of the same stream and attempt, recorded at the same time."""
        columns = {**self.columns, "type": type_, "event_id": str(uuid.uuid4())}
        return Event(columns, {"attempt": self.columns["attempt"], **body}, self.place)


@dataclass
class Evidence:
    """The directory of a run, and its log as a list that can be changed and then saved."""

    path: Path
    events: list[Event] = field(default_factory=list)

    @classmethod
    def copy_of(cls, run: Path, place: Path) -> Evidence:
        """A copy below `place`."""
        path = place / "copy"
        shutil.copytree(run, path)
        rows = read_rows(path / "home" / "events.db")
        events = [
            Event({name: getattr(row, name) for name in COLUMNS}, dict(row.body), row.position)
            for row in rows
        ]
        return cls(path, events)

    # --- finding ------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """The home under test."""
        return self.path / "home"

    def id(self, name: str) -> str:
        """The id of the agent with this name."""
        return next(event.agent for event in self.events if event.body.get("name") == name)

    def all(self, type_: str, name: str = "") -> list[Event]:
        """The events of a type, of one agent where it is named."""
        agent = self.id(name) if name else None
        return [event for event in self.events if event.type == type_ and agent in (None, event.agent)]

    def one(self, type_: str, name: str = "", number: int = 0) -> Event:
        """One of them."""
        return self.all(type_, name)[number]

    def secret(self) -> str:
        """What must be found nowhere."""
        return (self.path / "secrets").read_text().strip()

    def offset_ns(self) -> int:
        """The wall clock minus the clock since boot."""
        clock = json.loads((self.path / "clock").read_text())
        return int(clock["realtime_ns"]) - int(clock["boottime_ns"])

    def told_at(self, kind: str, name: str, attempt: int = 1) -> int:
        """When an attempt's last line of one kind was written, in microseconds of the wall clock."""
        return (int(self.lines(kind, name, attempt)[-1][-1]) + self.offset_ns()) // 1000

    def directory(self, name: str, attempt: int = 1) -> Path:
        """Where the records of an attempt are."""
        return self.home / "agents" / self.id(name) / str(attempt)

    # --- changing -----------------------------------------------------------------------------------------------

    def put(self, after: Event, type_: str, **body: Any) -> Event:
        """Put an event of the same agent behind another."""
        event = after.copy(type_, body)
        self.events.insert(self.events.index(after) + 1, event)
        return event

    def drop(self, *events: Event) -> None:
        """Leave events out."""
        self.events = [event for event in self.events if not any(event is one for one in events)]

    def exchange(self, one: Event, other: Event) -> None:
        """Let two events change places."""
        here, there = self.events.index(one), self.events.index(other)
        self.events[here], self.events[there] = other, one

    def save(self, *, keeps: tuple[str, ...] = (), numbers: bool = True) -> None:
        """Write the log anew, and tables that follow from it.

        `keeps`: of "snapshots", "head", "views", "status" and "clients", what is left as it is. Without `numbers`
        positions and versions stay as they were set.
        """
        self._number(numbers=numbers)
        self.write_log()
        if numbers and "clients" not in keeps:
            self.rewrite_lines("clients.jsonl", self._place)
        if "snapshots" not in keeps:
            shutil.rmtree(self.path / "snapshots", ignore_errors=True)
        if "head" not in keeps:
            (self.home / "head").unlink(missing_ok=True)
        if "views" not in keeps:
            (self.path / "views.jsonl").unlink(missing_ok=True)
        if "status" not in keeps:
            for path in self.home.glob("agents/*/*/status.json"):
                path.unlink()

    def _number(self, *, numbers: bool) -> None:
        versions: dict[str, int] = {}
        recorded_at = 0
        for position, event in enumerate(self.events, start=1):
            columns = event.columns
            if numbers:
                versions[columns["stream"]] = versions.get(columns["stream"], 0) + 1
                recorded_at = max(recorded_at, columns["recorded_at"])
                columns.update(
                    position=position, version=versions[columns["stream"]], recorded_at=recorded_at
                )
            columns["data"] = json.dumps(event.body, separators=(",", ":"), ensure_ascii=False)

    def _place(self, answer: dict[str, Any]) -> None:
        """What an answer was told to be the head is the same event still."""
        answer["position"] = sum(1 for event in self.events if event.place <= answer["position"])

    def write_log(self) -> None:
        """The chain computed with the product's own encoder, in a new file."""
        previous = chain.GENESIS
        for event in self.events:
            columns = event.columns
            fields = [columns[name] for name in chain.ORDER]
            fields = [one.encode() if isinstance(one, str) else one for one in fields]
            columns["previous_hash"], previous = previous, chain.link(previous, chain.leaf(fields))
            columns["hash"] = previous
        rows = [Row(**{name: event.columns[name] for name in COLUMNS}) for event in self.events]
        with self.database() as database:
            for table in TABLES:
                database.execute(f"DELETE FROM {table}")
            marks = ", ".join("?" * len(COLUMNS))
            database.executemany(
                f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({marks})",
                [[getattr(row, name) for name in COLUMNS] for row in rows],
            )
            for shape in shapes(rows).values():
                row = {**shape.row, "state_json": json.dumps(shape.row)}
                row.update({name: json.dumps(row[name]) for name in ("labels", "command")})
                _insert(database, "agents", row)
                for attempt in shape.attempts.values():
                    _insert(database, "attempts", attempt)

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The copy's database, what guards the tables taken away."""
        with contextlib.closing(sqlite3.connect(self.home / "events.db")) as database, database:
            guarded = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
            if database.execute(guarded).fetchall():
                database.execute("DROP TRIGGER IF EXISTS pruned_next")  # it looks at events
                for table in TABLES:
                    database.execute(f"CREATE TABLE unguarded AS SELECT * FROM {table}")
                    database.execute(f"DROP TABLE {table}")
                    database.execute(f"ALTER TABLE unguarded RENAME TO {table}")
            yield database

    def rewrite_ledger(self, change: Callable[[str], str | None]) -> None:
        """Pass each line of the ledger through `change`; None leaves it out."""
        path = self.path / "ledger"
        lines = [change(line) for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines if line is not None))

    def say(self, *words: object, ledger: str = "ledger") -> None:
        """Append a line to a ledger."""
        with (self.path / ledger).open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def lines(self, kind: str, name: str, attempt: int = 1) -> list[list[str]]:
        """The words of an attempt's lines of one kind."""
        prefix = [kind, self.id(name), str(attempt)]
        words = [line.split() for line in (self.path / "ledger").read_text().splitlines()]
        return [line for line in words if line[:3] == prefix]

    def rewrite_record(self, name: str, record: str, number: int = 1, **body: Any) -> None:
        """Change a shim's record, with a good checksum."""
        path = self.directory(name, number) / f"{record}.json"
        changed = {**json.loads(path.read_bytes())["body"], **body}
        content = json.dumps(changed, sort_keys=True, separators=(",", ":")).encode()
        written = path.stat().st_mtime_ns
        path.write_bytes(b'{"body":%b,"crc32":"%08x"}\n' % (content, crc32(content)))
        os.utime(path, ns=(written, written))

    def rewrite_lines(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change each object of a file of JSON lines."""
        path = self.path / name
        objects = [json.loads(line) for line in path.read_text().splitlines()]
        for one in objects:
            change(one)
        path.write_text("".join(json.dumps(one) + "\n" for one in objects))


def _insert(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    columns = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]
    marks = ", ".join("?" * len(columns))
    values = [row.get(name) for name in columns]
    database.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
