"""What the demo's claims rest on, counted from two sources: the log, and the ledger that the agents kept."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import NamedTuple

from eventstore.reader import Reader
from manager.demo.agents import Stage


class Facts(NamedTuple):
    """Counts at the end. `unmatched`: attempts that only the log or only the ledger has; `contradicted`: exits that
    the agent itself wrote down otherwise.
    """

    duplicates: int
    unmatched: list[str]
    exits: int
    exits_known: int
    contradicted: list[str]
    events: int
    is_intact: bool
    processes_left: list[int]

    def line(self) -> str:
        """The sum of it, in one line."""
        return (
            f"{self.duplicates} duplicates, {self.exits_known} of {self.exits} exit codes known, "
            f"log of {self.events} events {'verified' if self.is_intact else 'NOT VERIFIED'}"
        )


def gather(stage: Stage) -> Facts:
    """Read the log without any coordinator, compute its hash chain anew, and compare it with the ledger.

    A duplicate is a START line beyond the one that an attempt may have. Raises `StoreUnavailable`, `StoreDamaged`.
    """
    with contextlib.closing(Reader.open(stage.url)) as reader:
        names: dict[str, str] = {}
        logged: set[tuple[str, int]] = set()
        ends: dict[str, str] = {}
        for event in reader.events(types=("SPAWNING", "STARTED", "ZOMBIE_REAPED")):
            data = json.loads(event.data)
            if event.type == "SPAWNING":
                names[event.stream] = data["name"]
                continue
            name = names[event.stream]
            if event.type == "STARTED":
                logged.add((name, data["attempt"]))
            else:
                ends[name] = _short(data["exit"])
        verdict = reader.verify()
        head = reader.head()
    starts = Counter((line.name, line.attempt) for line in stage.ledger("START"))
    return Facts(
        duplicates=sum(count - 1 for count in starts.values()),
        unmatched=sorted(f"{name}/{attempt}" for name, attempt in logged ^ set(starts)),
        exits=len(logged),
        exits_known=sum(end != "unknown" for end in ends.values()),
        contradicted=[line.name for line in stage.ledger("END") if ends.get(line.name) != line.rest],
        events=head.position,
        is_intact=verdict.is_intact and verdict.checked == head.position,
        processes_left=[line.pid for line in stage.alive()],
    )


def _short(end: dict[str, str | int]) -> str:
    kind = str(end["kind"])
    return kind if kind == "unknown" else f"{kind} {end[kind]}"
