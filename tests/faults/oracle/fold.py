"""What the log says, by a transition table and a fold of the oracle's own (docs/lifecycle.md is what they follow)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "KILLED", "LOST"}
MAKES_LIVE = "STARTED"
STAYS = {
    "SPAWNING": {"STARTED", "REATTACHED", "SIGNAL_SENT"},
    "RUNNING": {"HEALTH_CHANGED", "REATTACHED", "SIGNAL_SENT"},
    "STOPPING": {
        "STOP_REQUESTED",
        "SIGTERM_SENT",
        "SIGKILL_SENT",
        "STOP_TIMED_OUT",
        "HEALTH_CHANGED",
        "REATTACHED",
        "SIGNAL_SENT",
    },
    "BACKOFF": {"RESTART_SCHEDULED"},
    "FAILED": {"RESTART_GIVEN_UP"},
    "KILLED": {"RESTART_GIVEN_UP"},
    "LOST": {"RESTART_GIVEN_UP"},
}
MOVES = {
    ("", "SPAWNING"): "SPAWNING",
    ("SPAWNING", "RUNNING"): "RUNNING",
    ("SPAWNING", "STOP_REQUESTED"): "STOPPING",
    ("RUNNING", "STOP_REQUESTED"): "STOPPING",
    ("SPAWNING", "ZOMBIE_REAPED"): "EXITED",
    ("RUNNING", "ZOMBIE_REAPED"): "EXITED",
    ("STOPPING", "ZOMBIE_REAPED"): "EXITED",
    ("SPAWNING", "FAILED"): "FAILED",
    ("SPAWNING", "LOST"): "LOST",
    ("BACKOFF", "SPAWNING"): "SPAWNING",
    ("BACKOFF", "CANCELLED"): "CANCELLED",
    **{("EXITED", outcome): outcome for outcome in FINAL},
    **{(outcome, "SPAWNING"): "SPAWNING" for outcome in FINAL},
    **{(outcome, "RESTART_SCHEDULED"): "BACKOFF" for outcome in FINAL},
}
NEEDS_PROCESS = {
    "RUNNING",
    "HEALTH_CHANGED",
    "STOP_REQUESTED",
    "SIGTERM_SENT",
    "SIGKILL_SENT",
    "STOP_TIMED_OUT",
    "ZOMBIE_REAPED",
    "REATTACHED",
    "SIGNAL_SENT",
}


@dataclass
class Attempt:
    """The events of one attempt, and what they say."""

    agent: str
    number: int
    rows: list[Row] = field(default_factory=list)

    def of(self, *types: str) -> list[Row]:
        """Its events of these types, in order."""
        return [row for row in self.rows if row.type in types]

    def first(self, *types: str) -> Row | None:
        """The first of them."""
        return next((row for row in self.rows if row.type in types), None)

    @property
    def stop(self) -> Row | None:
        """The STOP_REQUESTED that counts: the last one, but a limit or its health stays the cause."""
        asked = self.of("STOP_REQUESTED")
        policies = [row for row in asked if row.body.get("cause") in ("limit", "health")]
        return policies[0] if policies else asked[-1] if asked else None

    @property
    def process(self) -> dict[str, Any] | None:
        """The identity in STARTED."""
        started = self.first("STARTED")
        return None if started is None else dict(started.body["process"])

    @property
    def end(self) -> Row | None:
        """ZOMBIE_REAPED, if there is one."""
        return self.first("ZOMBIE_REAPED")

    @property
    def exit(self) -> dict[str, Any] | None:
        """The exit in ZOMBIE_REAPED."""
        return None if self.end is None else dict(self.end.body["exit"])

    @property
    def outcome(self) -> Row | None:
        """Its final event; None while it runs."""
        return self.first(*FINAL)

    @property
    def is_over(self) -> bool:
        """Whether the log says that its process has ended or never was."""
        return self.end is not None or self.outcome is not None


@dataclass
class Agent:
    """One agent by its events: its state now, and its attempts by number."""

    id: str
    name: str = ""
    state: str = ""
    version: int = 0
    position: int = 0
    restarts_used: int = 0
    health: str = "unknown"
    spec: dict[str, Any] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)

    @property
    def current(self) -> int:
        """The number of the newest attempt."""
        return max(self.attempts, default=0)

    def add(self, row: Row) -> str | None:
        """Fold one event in; what is wrong with it, or None."""
        wrong = self._move(row)
        if row.type == "SPAWNING" and row.attempt is not None:
            if row.attempt != self.current + 1:
                wrong = wrong or f"attempt {row.attempt} follows attempt {self.current}"
            self.attempts.setdefault(row.attempt, Attempt(self.id, row.attempt))
            self.name, self.spec = row.body.get("name", ""), row.body.get("spec", {})
            self.health = "unknown"
        elif row.attempt != self.current:
            wrong = wrong or f"{row.type} is about attempt {row.attempt}, the current one is {self.current}"
        if row.body.get("attempt") != row.attempt:
            wrong = wrong or f"the column says attempt {row.attempt}, the event {row.body.get('attempt')}"
        attempt = self.attempts.get(row.attempt or 0)
        if attempt is not None:
            has_process = attempt.first(MAKES_LIVE) is not None
            if row.type in NEEDS_PROCESS and not has_process:
                wrong = wrong or f"{row.type} of an attempt that was not started"
            if row.type == MAKES_LIVE and has_process:
                wrong = wrong or "started a second time"
            if row.type in ("FAILED", "LOST") and has_process and attempt.end is None:
                wrong = wrong or f"{row.type} of a process that was not reaped"
            attempt.rows.append(row)
        if row.type == "RESTART_SCHEDULED":
            self.restarts_used = row.body.get("used", 0)
        if row.type == "HEALTH_CHANGED":
            self.health = row.body.get("health", "")
        self.version, self.position = row.version, row.position
        return wrong

    def _move(self, row: Row) -> str | None:
        if row.type in STAYS.get(self.state, ()):
            return None
        target = MOVES.get((self.state, row.type))
        if target is None:
            return f"{row.type} in the state {self.state or '(no agent)'}"
        self.state = target
        return None


def fold(rows: Iterable[Row]) -> dict[str, Agent]:
    """The agents by id after these rows; what is illegal is folded as far as it can be."""
    agents: dict[str, Agent] = {}
    for row in rows:
        if row.agent is not None:
            agents.setdefault(row.agent, Agent(row.agent)).add(row)
    return agents


def check_transitions(rows: Iterable[Row]) -> Iterator[Violation]:
    """Whatever the table lacks; a name that two agents have that have not ended."""
    agents: dict[str, Agent] = {}
    holders: dict[str, str] = {}
    for row in rows:
        if row.agent is None:
            continue
        agent = agents.setdefault(row.agent, Agent(row.agent))
        wrong = agent.add(row)
        if agent.state in FINAL:
            if holders.get(agent.name) == agent.id:
                del holders[agent.name]
        elif holders.setdefault(agent.name, agent.id) != agent.id:
            wrong = wrong or f"the name {agent.name} is that of {holders[agent.name]}, which has not ended"
        if wrong is not None:
            yield Violation("legal transitions", wrong, row.position, row.agent, row.attempt)


def check_epochs(rows: Iterable[Row]) -> Iterator[Violation]:
    """One higher with each COORDINATOR_STARTED, and every event carries the newest."""
    current = 0
    for row in rows:
        if row.type == "COORDINATOR_STARTED":
            told = row.body.get("epoch")
            if row.epoch != current + 1 or told != row.epoch:
                evidence = f"a coordinator began epoch {told} (column: {row.epoch}) after {current}"
                yield Violation("epochs in order", evidence, row.position)
            current = max(current, row.epoch)
        elif row.epoch != current or row.body.get("epoch", current) != current:
            evidence = f"{row.type} was appended with epoch {row.epoch} in epoch {current}"
            yield Violation("epochs in order", evidence, row.position, row.agent, row.attempt)
