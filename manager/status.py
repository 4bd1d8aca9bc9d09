"""What people read about agents. Each class's `as_json()` is what `--json` prints; see `docs/cli.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How an attempt ended: a code, a signal, or unknown with the reason."""

    kind: Literal["code", "signal", "unknown"]
    code: int | None = None
    signal: int | None = None
    reason: str | None = None

    @property
    def shell_code(self) -> int | None:
        """What a shell would show: the code, or 128 + signal; None when unknown."""
        return self.code if self.kind == "code" else None if self.signal is None else 128 + self.signal

    def as_json(self) -> dict[str, Any]:
        """The `exit` object of the agent's JSON."""
        return {"kind": self.kind, "code": self.code, "signal": self.signal, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """A look at a living process and its tree. `cpu_percent`: of one core, between two readings, the whole tree.

    `is_alive` and `is_zombie` are None where nobody can look any more: in the past.
    """

    is_alive: bool | None
    is_zombie: bool | None
    process_status: str | None
    cpu_percent: float | None
    memory_bytes: int | None
    threads: int | None
    processes: int | None
    command_line: tuple[str, ...] | None = None


NOT_ALIVE = Vitals(
    is_alive=False,
    is_zombie=False,
    process_status=None,
    cpu_percent=None,
    memory_bytes=None,
    threads=None,
    processes=None,
)
UNSEEN = replace(NOT_ALIVE, is_alive=None, is_zombie=None)  # of what nobody here can look at


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """One agent: what the log knows, and, of a living one, what the system shows now.

    Times are RFC 3339 UTC text with microseconds. `note` is one short phrase for people: an exit, a reason, a warning.
    `is_alive` is what was observed; an agent whose state is RUNNING and that is not alive has ended without a
    coordinator to record it, and the next one will. `ended_at` and `runtime_seconds` are None where nobody saw the end.
    """

    id: str
    name: str
    state: str
    attempt: int
    pid: int | None
    started_at: str | None
    ended_at: str | None
    exit: ExitStatus | None
    outcome: str | None
    health: str
    labels: Mapping[str, str]
    vitals: Vitals
    runtime_seconds: float | None
    note: str
    state_since: str
    command: tuple[str, ...]
    cwd: str | None
    directory: str
    cause: str | None
    message: str | None
    restarts_used: int
    is_final: bool
    home: str = ""
    host: str = ""

    @property
    def is_alive(self) -> bool | None:
        """Whether its main process, or the tree that a daemon's has left behind, was seen alive; None: see `Vitals`."""
        return self.vitals.is_alive

    @property
    def is_running(self) -> bool:
        """Whether it is alive; where nobody can look, whether the log has its process as started and not ended."""
        if self.is_alive is None:
            return self.pid is not None and self.exit is None
        return self.is_alive

    def as_json(self) -> dict[str, Any]:
        """The agent object of `ps --json` and `run --json`, with the further fields of `status --json`."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "attempt": self.attempt,
            "pid": self.pid,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit": None if self.exit is None else self.exit.as_json(),
            "outcome": self.outcome,
            "health": self.health,
            "cpu_percent": self.vitals.cpu_percent,
            "memory_bytes": self.vitals.memory_bytes,
            "threads": self.vitals.threads,
            "processes": self.vitals.processes,
            "runtime_seconds": self.runtime_seconds,
            "is_zombie": self.vitals.is_zombie,
            "labels": dict(self.labels),
            "is_alive": self.is_alive,
            "note": self.note,
            "process_status": self.vitals.process_status,
            "state_since": self.state_since,
            "command": list(self.command),
            "command_line": None if self.vitals.command_line is None else list(self.vitals.command_line),
            "cwd": self.cwd,
            "directory": self.directory,
            "cause": self.cause,
            "message": self.message,
            "restarts_used": self.restarts_used,
            "is_final": self.is_final,
            "home": self.home,
            "host": self.host,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> AgentStatus:
        """The status that `as_json` gave. Raises KeyError or TypeError for anything else."""
        exit_ = content["exit"]
        command_line = content["command_line"]
        return cls(
            **{name: content[name] for name in _PLAIN if name in content},
            exit=None if exit_ is None else ExitStatus(**exit_),
            command=tuple(content["command"]),
            vitals=Vitals(
                **{name: content[name] for name in _OF_VITALS},
                command_line=None if command_line is None else tuple(command_line),
            ),
        )


_OF_VITALS = (
    "is_alive",
    "is_zombie",
    "process_status",
    "cpu_percent",
    "memory_bytes",
    "threads",
    "processes",
)
_PLAIN = tuple(name for name in AgentStatus.__dataclass_fields__ if name not in ("exit", "command", "vitals"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All agents at once: how many in each state, and what the living ones use together."""

    total: int
    live: int
    by_state: Mapping[str, int]
    cpu_percent: float
    memory_bytes: int
    processes: int
    zombies: int

    def as_json(self) -> dict[str, Any]:
        """`{"total", "live", "by_state", "cpu_percent", "memory_bytes", "processes", "zombies"}`."""
        return {
            "total": self.total,
            "live": self.live,
            "by_state": dict(self.by_state),
            "cpu_percent": self.cpu_percent,
            "memory_bytes": self.memory_bytes,
            "processes": self.processes,
            "zombies": self.zombies,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A quick check of one agent: `is_ok` when it runs and nothing speaks against it; `why` says what does."""

    id: str
    name: str
    state: str
    health: str
    is_ok: bool
    why: str

    def as_json(self) -> dict[str, Any]:
        """One object of `health --json`."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "health": self.health,
            "ok": self.is_ok,
            "why": self.why,
        }


def check(status: AgentStatus) -> HealthCheck:
    """Whether its process is alive, no zombie, not stopped or stuck. Ended is unhealthy, elsewhere is unknown."""
    if status.is_alive is None and not status.is_final:  # nobody here can look
        health, why = "unknown", f"its processes are on host {status.host}: ask there"
    else:
        health, why = health_of(
            status.state, status.note, status.vitals, is_final=status.is_final, cause=status.cause
        )
    return HealthCheck(
        id=status.id, name=status.name, state=status.state, health=health, is_ok=health == "healthy", why=why
    )


def health_of(state: str, note: str, seen: Vitals, *, is_final: bool, cause: str | None) -> tuple[str, str]:
    """`healthy`, `degraded` or `unhealthy`, and why. `cause`: of its stop, or of its end."""
    if state == "STOPPING" and cause == "health":  # whatever its process looks like
        return "unhealthy", note
    bad = None
    if is_final:
        bad = note or state.lower()
    elif seen.is_zombie:
        bad = "its process is a zombie"
    elif state == "BACKOFF":
        bad = "waiting for its next attempt"
    elif not seen.is_alive:
        bad = "its process is not alive"
    elif seen.process_status in ("stopped", "tracing-stop", "disk-sleep"):
        bad = f"its process is in {seen.process_status}"
    if bad is None:
        return "healthy", "running"
    return ("degraded" if seen.is_alive else "unhealthy"), bad


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """What a recovery found, in agents. `duplicates` is 0 by construction: recovery starts nothing that was started."""

    reattached: int
    ended: int
    lost: int
    never_started: int
    pending: int
    resumed_stops: int
    due_attempts: int
    exit_codes_known: int
    duration_seconds: float

    def as_json(self) -> dict[str, Any]:
        """The object of `recover --json`."""
        return {
            "reattached": self.reattached,
            "ended": self.ended,
            "lost": self.lost,
            "never_started": self.never_started,
            "pending": self.pending,
            "resumed_stops": self.resumed_stops,
            "due_attempts": self.due_attempts,
            "exit_codes_known": self.exit_codes_known,
            "duration_seconds": self.duration_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased: texts that events name, and files of attempts, by their paths in the home.

    `is_scrubbed`: nothing of it is left in the database's files; False while somebody reads an older state of them.
    """

    texts: int
    files: tuple[str, ...]
    is_scrubbed: bool

    def as_json(self) -> dict[str, Any]:
        """Most of the object of `erase --json`."""
        return {"texts": self.texts, "files": list(self.files), "is_scrubbed": self.is_scrubbed}
