"""The rows of the tables `agents` and `attempts`, worked out from an agent's events alone."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.oracle.fold import FINAL, MOVES
from tests.faults.oracle.log import Row

PROCESS = ("pid", "start_ticks", "shim_pid")
TIMES = ("started_at", "running_at", "ended_at")
EXIT = ("exit_kind", "exit_code", "exit_signal", "exit_reason")


@dataclass
class Shape:
    """One agent after some of its events: its row, and those of its attempts by number."""

    row: dict[str, Any] = field(default_factory=dict)
    attempts: dict[int, dict[str, Any]] = field(default_factory=dict)
    stop: tuple[str, str | None] | None = None
    is_judged: bool = False

    def add(self, event: Row) -> None:
        """Fold one event in."""
        was_judged = self.is_judged
        state = MOVES.get((self.row.get("state", ""), event.type))
        if state is not None:
            self.row.update(state=state, since_at=event.occurred_at)
        if event.type == "SPAWNING":
            was_judged = self.is_judged = False
            self._spawn(event)
        else:
            self._change(event)
        self.row["is_final"] = int(self.row.get("state") in FINAL)
        self.row.update(
            home=event.home, host=event.host, version=event.version, position=event.position, **self._why()
        )
        if not was_judged:
            number = self.row["attempt"]
            self.attempts[number] = {name: self.row[name] for name in OF_ATTEMPTS}

    def _spawn(self, event: Row) -> None:
        body, spec = event.body, event.body.get("spec", {})
        self.stop = None
        self.row.setdefault("spawned_at", event.occurred_at)
        self.row.setdefault("restarts_used", 0)
        self.row.update(dict.fromkeys((*PROCESS, *TIMES, *EXIT, "outcome", "due_at", "failure")))
        self.row.update(
            agent_id=event.agent,
            name=body.get("name"),
            attempt=event.attempt,
            labels=spec.get("labels"),
            command=spec.get("command"),
            cwd=spec.get("cwd"),
            boot_id=body.get("boot_id"),
            directory=body.get("directory"),
            requested_at=event.occurred_at,
            health="unknown",
        )

    def _change(self, event: Row) -> None:
        body, row = event.body, self.row
        if event.type == "STARTED":
            row.update({name: body["process"][name] for name in PROCESS}, started_at=event.occurred_at)
        elif event.type == "RUNNING":
            row["running_at"] = event.occurred_at
        elif event.type == "STOP_REQUESTED":
            if self.stop is None or self.stop[0] not in ("limit", "health"):
                self.stop = body["cause"], body.get("reason")
        elif event.type == "HEALTH_CHANGED":
            row["health"] = body["health"]
        elif event.type == "ZOMBIE_REAPED":
            exit_ = body["exit"]
            row.update({f"exit_{name}": exit_.get(name) for name in ("kind", "code", "signal", "reason")})
            row["ended_at"] = event.occurred_at if body["ended_at"] is None else body["ended_at"]
        elif event.type == "RESTART_SCHEDULED":
            row.update(restarts_used=body["used"], due_at=body["due_at"])
        elif event.type in FINAL:
            self.is_judged = True
            row.update(outcome=event.type, due_at=None)
            row["ended_at"] = event.occurred_at if row["ended_at"] is None else row["ended_at"]
            if event.type == "FAILED":
                row["failure"] = (body["cause"], body["message"])
            elif event.type == "LOST":
                row["failure"] = ("unknown", body["reason"])

    def _why(self) -> dict[str, Any]:
        why: tuple[str | None, str | None] = (None, None)
        if self.row.get("failure"):
            why = self.row["failure"]
        elif self.stop and self.row.get("outcome") != "COMPLETED":
            why = self.stop
        return {"cause": why[0], "message": why[1]}


OF_ATTEMPTS = (
    *("agent_id", "attempt", "state", *PROCESS, "boot_id", "directory", "requested_at", *TIMES, *EXIT),
    *("outcome", "cause", "message", "health", "home", "host", "version", "position"),
)


def shapes(rows: Iterable[Row]) -> dict[str, Shape]:
    """All agents by id after these rows."""
    found: dict[str, Shape] = {}
    for row in rows:
        if row.agent is not None and row.attempt is not None:
            found.setdefault(row.agent, Shape()).add(row)
    return found


def history(rows: Iterable[Row]) -> dict[tuple[str, int], dict[str, Any]]:
    """Each agent's row as it was after each of its events, by id and version."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    current: dict[str, Shape] = {}
    for row in rows:
        if row.agent is not None and row.attempt is not None:
            shape = current.setdefault(row.agent, Shape())
            shape.add(row)
            found[row.agent, row.version] = copy.copy(shape.row)
    return found
