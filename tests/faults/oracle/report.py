"""What the oracle finds: each violated promise with its evidence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

PROMISES = {
    "dense positions": "positions are 1, 2, 3 … in order of time, and versions are dense in each stream",
    "unique ids": "no event id is used twice",
    "hash chain": "each row's hash is that of its columns and of the row before",
    "stable history": "an earlier reading of the log is the beginning of every later one",
    "acknowledged is kept": "what a client was told to be done is in the log, once",
    "as asked for": "nobody's order is recorded but those that were given: whose, about whom, as often at most",
    "stages in time": "a stop goes through its stages, and waits as long as was granted before each",
    "intent before exec": "no program runs before its SPAWNING is recorded and its identity written",
    "one start": "an attempt runs at most once",
    "one live attempt": "an agent has at most one living attempt at a time",
    "no lost process": "a living process of an agent is in the log, as living",
    "true identity": "the recorded identity is the one that the process tells of itself",
    "signal after event": "a signal is sent only after the event that announces it",
    "right target": "a signal goes to a process of the agent that the event is about, through a pidfd",
    "canary unharmed": "a process that took over a pid is never signalled",
    "true exit": "the recorded exit is what happened to the process",
    "meaning of the end": "the outcome follows from the exit and from what was asked",
    "one end": "an attempt ends once in the log, after it was started, and no exit is forgotten",
    "justified unknown": "an exit is unknown only where a fault took away whoever saw it, and says why",
    "alive is not ended": "the log never calls a living process ended",
    "epochs in order": "each coordinator has the next epoch, and nothing is appended with an older one",
    "legal transitions": "an agent's events follow the lifecycle's table, and no two living agents share a name",
    "views are the fold": "what people read is the fold of the log",
    "agents notice nothing": "an agent is not held up, and gets no signal that nobody asked for",
    "restart policy": "a restart follows its policy or an order, in time and number",
    "nothing left behind": "no process, temporary file or cgroup of an ended attempt is left",
    "secrets": "an environment's values are in spec.json alone",
}


@dataclass(frozen=True)
class Violation:
    """One broken promise, one of `PROMISES`. `position` is the log's, where there is one to blame."""

    promise: str
    evidence: str
    position: int | None = None
    agent: str | None = None
    attempt: int | None = None

    def __post_init__(self) -> None:
        if self.promise not in PROMISES:
            raise ValueError(f"cannot report {self.promise!r}: it is no promise")


class Undecidable(Exception):
    """The run's evidence is missing or cannot be read: nothing can be said about the promises."""


@dataclass(frozen=True)
class Report:
    """The oracle's judgement of one run. `counts` tells how much evidence there was of each kind."""

    seed: str
    counts: Mapping[str, int]
    violations: Sequence[Violation]

    def as_json(self) -> str:
        """One JSON document."""
        content = {
            "seed": self.seed,
            "counts": dict(self.counts),
            "violations": [asdict(violation) for violation in self.violations],
        }
        return json.dumps(content, indent=1)

    def as_text(self) -> str:
        """For a person: a line a violation, at most ten of a kind."""
        seen: Counter[str] = Counter()
        lines = [f"{len(self.violations)} violations"]
        for found in self.violations:
            seen[found.promise] += 1
            if seen[found.promise] <= 10:
                where = f"{found.agent or '-'}/{found.attempt or '-'} at {found.position or '-'}"
                lines.append(f"  {found.promise}: {where}: {found.evidence}")
        return "\n".join(lines)
