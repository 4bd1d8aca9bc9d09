"""What the agents, the canaries and the clients wrote down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.oracle.report import Undecidable


@dataclass(frozen=True)
class Line:
    """One line of a ledger; `at` in nanoseconds since boot. `words` are the fields between pid and time."""

    kind: str
    agent: str
    attempt: int
    pid: int
    at: int
    words: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int]:
        """Agent and attempt."""
        return self.agent, self.attempt


@dataclass(frozen=True)
class Start(Line):
    """An agent's first line."""

    token: str
    start_ticks: int
    pid_namespace: int
    boot_id: str


@dataclass(frozen=True)
class Ask:
    """One order, noted before it was given, at `at` in nanoseconds since boot.

    `names` of agents to start, None for any; `agents` that it is about by id or name, None for all of them. `grace`: of
    a stop, None for the spec's, empty where it was not noted.
    """

    id: int
    at: int
    kind: str
    by: str
    names: tuple[str | None, ...]
    agents: frozenset[str] | None
    signal: int | None
    grace: tuple[float, ...] | None

    def is_about(self, agent: str, name: str) -> bool:
        """Whether it is about the agent with this id and name."""
        return self.agents is None or agent in self.agents or name in self.agents


def read_asks(path: Path) -> list[Ask]:
    """The harness's list of orders. Raises `Undecidable`."""
    return [
        Ask(
            id=line["id"],
            at=line["at"],
            kind=line["ask"],
            by=line["by"],
            names=tuple(line.get("names", ())),
            agents=None if line.get("agents", ()) is None else frozenset(line.get("agents", ())),
            signal=line.get("signal"),
            grace=None if line.get("grace") is None else tuple(line["grace"]),
        )
        for line in read_lines(path)
    ]


def read_ledger(path: Path) -> list[Line]:
    """The lines of a ledger in the order in which they were written; none for no file. Raises `Undecidable`."""
    if not path.exists():
        return []
    return [_line(text, path) for text in path.read_text().splitlines() if text]


def _line(text: str, path: Path) -> Line:
    words = text.split(" ")
    try:
        kind, agent, attempt = words[0], words[1], int(words[2])
        if kind == "START":
            token, pid, ticks, namespace, boot_id, at = words[3:]
            return Start(
                kind, agent, attempt, int(pid), int(at), (), token, int(ticks), int(namespace), boot_id
            )
        time_at = 4 if kind == "BEAT" else len(words) - 1
        rest = words[5:] if kind == "BEAT" else words[4:-1]
        return Line(kind, agent, attempt, int(words[3]), int(words[time_at]), tuple(rest))
    except (ValueError, IndexError) as error:
        raise Undecidable(f"cannot read the ledger {path}: {text!r}: {error}") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none for no file. Raises `Undecidable`."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except ValueError as error:
        raise Undecidable(f"cannot read {path}: {error}") from error
