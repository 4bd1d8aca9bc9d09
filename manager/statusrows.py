"""An agent's row, and what was seen of its process, as a status that people read. Loads no SQLAlchemy, no pydantic."""

from __future__ import annotations

from time import time_ns

from eventstore.record import rfc3339
from manager.status import AgentStatus, ExitStatus, Vitals, health_of
from projections.queries import AgentRow

ENDED_UNRECORDED = "not running any more; `outlive recover` records it"


def status_of(row: AgentRow, seen: Vitals, *, is_looked_at: bool, as_of: int | None = None) -> AgentStatus:
    """The row, and what was seen of its process: by a look just now, or up to the instant `as_of`."""
    is_unseen = row.exit_kind == "unknown" or row.outcome == "LOST"  # `ended_at` is when that was found out
    ended_at = None if is_unseen else row.ended_at
    end = row.ended_at or as_of or (time_ns() // 1000 if seen.is_alive else None)
    runtime = (
        None if row.started_at is None or end is None or is_unseen else max(0, end - row.started_at) / 1e6
    )
    is_seen = is_looked_at and row.ended_at is None and row.pid is not None
    note = ENDED_UNRECORDED if is_seen and not seen.is_alive else _note(row)
    health = row.health
    if is_seen:  # newer than the last verdict that somebody recorded
        health, _ = health_of(row.state, note, seen, is_final=row.is_final, cause=row.cause)
    return AgentStatus(
        id=row.agent_id,
        name=row.name,
        state=row.state,
        attempt=row.attempt,
        pid=row.pid,
        started_at=_time(row.started_at),
        ended_at=_time(ended_at),
        exit=_exit(row),
        outcome=row.outcome,
        health=health,
        labels=row.labels,
        vitals=seen,
        runtime_seconds=runtime,
        note=note,
        state_since=rfc3339(row.since_at),
        command=row.command,
        cwd=row.cwd,
        directory=row.directory,
        cause=row.cause,
        message=row.message,
        restarts_used=row.restarts_used,
        is_final=row.is_final,
        home=row.home,
        host=row.host,
    )


def _exit(row: AgentRow) -> ExitStatus | None:
    match row.exit_kind:
        case "code":
            return ExitStatus(kind="code", code=row.exit_code)
        case "signal":
            return ExitStatus(kind="signal", signal=row.exit_signal)
        case "unknown":
            return ExitStatus(kind="unknown", reason=row.exit_reason)
    return None


def _note(row: AgentRow) -> str:
    parts = []
    if row.exit_kind == "code":
        parts.append(f"exit {row.exit_code}")
    elif row.exit_kind == "signal":
        parts.append(f"signal {row.exit_signal}")
    elif row.exit_kind == "unknown":
        parts.append(f"exit unknown: {row.exit_reason}")
    if row.message and row.cause == "failed start":
        parts = [row.message]  # it says how it ended, too
    elif row.message and row.cause not in ("exit", "signal", "unknown"):
        parts.append(row.message)
    if row.due_at is not None:
        parts.append(f"next attempt at {rfc3339(row.due_at)}")
    return "; ".join(parts)


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
