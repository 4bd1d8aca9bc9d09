"""One row for each attempt of each agent, with all that a report asks: when, how it ended, why, what it used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table

from eventstore import events as ev
from eventstore.codec import UnknownEvent
from eventstore.home_events import PayloadsErased
from eventstore.lifecycle import TRANSITIONS
from eventstore.record import RecordedEvent
from eventstore.state import State
from eventstore.statements import Statements
from projections import tables
from projections.agents import STREAM_PREFIX, agent_id_of, exit_columns
from projections.checkpoints import FOLLOWING_VERSIONS
from projections.fingerprint import fingerprint, of_line
from projections.rows import Row, json_list, json_object, upsert, values_of

Key = tuple[str, int]
_KEYS_A_QUERY = 400


class RunsProjection:
    """Keeps the table `runs`, or another of its shape."""

    name = "runs"
    version = FOLLOWING_VERSIONS["runs"]

    def __init__(self, runs: Table = tables.runs) -> None:
        self._table = runs
        self._upsert = upsert(runs)
        self._values = values_of(runs)
        self._columns = [column.name for column in runs.columns]

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Take in events that follow those taken in before."""
        statements = Statements(connection)
        mine = [event for event in events if event.stream.startswith(STREAM_PREFIX) and event.attempt]
        keys = {(agent_id_of(event.stream), event.attempt or 0) for event in mine}
        keys |= {(agent_id, attempt - 1) for agent_id, attempt in keys}
        known = self._known(statements, sorted(keys))
        lines = _error_lines(statements, mine)
        touched: dict[Key, Row] = {}
        for event in mine:
            key = agent_id, attempt = agent_id_of(event.stream), event.attempt or 0
            row = run_row(known.get(key), event, before=known.get((agent_id, attempt - 1)), lines=lines)
            if row is not None:
                known[key] = touched[key] = row
        for erasure in (event.event for event in events if event.type == PayloadsErased.TYPE):
            if isinstance(erasure, PayloadsErased):
                rows = self._rows(statements, "agent_id = ?", [erasure.agent_id]) | touched
                touched |= {
                    key: _erased(row) for key, row in rows.items() if row["output_digest"] in erasure.digests
                }
        statements.run_many(self._upsert, list(map(self._values, touched.values())))

    def _known(self, statements: Statements, keys: list[Key]) -> dict[Key, Row]:
        found: dict[Key, Row] = {}
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = keys[start : start + _KEYS_A_QUERY]
            where = f"(agent_id, attempt) IN (VALUES {', '.join(['(?, ?)'] * len(part))})"
            found |= self._rows(statements, where, [value for key in part for value in key])
        return found

    def _rows(self, statements: Statements, where: str, parameters: Sequence[object]) -> dict[Key, Row]:
        query = f"SELECT {', '.join(self._columns)} FROM {self._table.name} WHERE {where}"  # noqa: S608 (our own names)
        rows = [
            dict(zip(self._columns, stored, strict=True)) for stored in statements.rows(query, parameters)
        ]
        return {(row["agent_id"], row["attempt"]): row for row in rows}


def run_row(
    row: Row | None, recorded: RecordedEvent, *, before: Row | None, lines: Mapping[str, str]
) -> Row | None:
    """The row of an attempt after one of its events; `before`: that of the attempt before it. None: still no row.

    `lines`: by digest, the error lines of texts that are not erased. Once judged an attempt stays as it is: a restart
    that is scheduled and then cancelled ends the agent and does not change how the attempt before it ended.
    """
    event = recorded.event
    if isinstance(event, UnknownEvent):
        return row
    if isinstance(event, ev.AgentSpawning):
        return _spawned(recorded, event, before)
    if row is None:
        return None
    if row["outcome"] is not None:
        return _after_judgement(row, recorded, event)
    changed = {
        **row,
        **_changes(row, recorded, event),
        "state": TRANSITIONS[State(row["state"])].get(event.TYPE, row["state"]),
        "position": recorded.position,
    }
    if isinstance(event, ev.AgentFailed | ev.AgentLost):
        changed |= _likeness(changed, event, lines)
    return changed


def _spawned(recorded: RecordedEvent, event: ev.AgentSpawning, before: Row | None) -> Row:
    return {
        **{column.name: None for column in tables.runs.columns},
        "agent_id": agent_id_of(recorded.stream),
        "attempt": event.attempt,
        "name": event.name,
        "home": recorded.home,
        "host": recorded.host,
        "epoch": recorded.epoch,
        "labels": json_object(tuple(sorted(event.spec.labels.items()))),
        "command": json_list(event.spec.command),
        "requested_at": recorded.occurred_at,
        "requested_by": recorded.actor,
        "state": str(State.SPAWNING),
        "restart_number": (before and before["next_number"]) or 0,
        "restart_delay_seconds": before and before["next_delay_seconds"],
        "has_given_up": 0,
        "position": recorded.position,
    }


def _after_judgement(row: Row, recorded: RecordedEvent, event: ev.Event) -> Row:
    match event:
        case ev.RestartScheduled(used=used, delay_seconds=delay):
            return {
                **row,
                "next_number": used,
                "next_delay_seconds": delay,
                "position": recorded.position,
            }
        case ev.RestartGivenUp():
            return {**row, "has_given_up": 1, "position": recorded.position}
    return row


def _changes(row: Row, recorded: RecordedEvent, event: ev.Event) -> Row:
    at = recorded.occurred_at
    match event:
        case ev.AgentStarted():
            return {"started_at": at}
        case ev.AgentRunning():
            return {"running_at": at}
        case ev.StopRequested(cause=cause, reason=reason) if row["stop_cause"] is None:
            return {"stop_cause": cause, "stop_actor": recorded.actor, "stop_reason": reason}
        case ev.ZombieReaped():
            return _end(event)
        case ev.AgentFailed(cause=cause, message=message):
            return _judged(at, State.FAILED) | {"cause": cause, "message": message}
        case ev.AgentLost(reason=reason):
            return _judged(at, State.LOST) | {"cause": "unknown", "message": reason}
        case ev.AgentCompleted():
            return _judged(at, State.COMPLETED)
        case ev.AgentCancelled():
            return _judged(at, State.CANCELLED)
        case ev.AgentKilled():
            return _judged(at, State.KILLED)
    return {}


def _end(event: ev.ZombieReaped) -> Row:
    used = event.resources
    return {
        "ended_at": event.ended_at,
        **exit_columns(event.exit),
        "exit_source": event.source,
        "is_recovered": int(event.is_recovered),
        "user_seconds": used and used.user_seconds,
        "system_seconds": used and used.system_seconds,
        "max_memory_bytes": used and used.max_memory_bytes,
        "oom_killed": None if event.oom_killed is None else int(event.oom_killed),
        "leftovers": None if event.leftovers is None else len(event.leftovers),
    }


def _judged(at: int, outcome: State) -> Row:
    return {"outcome": str(outcome), "judged_at": at}


def _likeness(row: Row, event: ev.AgentFailed | ev.AgentLost, lines: Mapping[str, str]) -> Row:
    """What failures of its kind share. The error line is here only where the log itself has it: nothing erasable."""
    output = event.last_output if isinstance(event, ev.AgentFailed) else None
    if output is None or output.digest is None:
        text = output.text.splitlines() if output and output.text else []
        found = fingerprint(row["cause"], _exit(row), text or (row["message"],))
        return {"fingerprint": found.id, "error_line": found.line}
    line = lines.get(output.digest)
    if line is None:
        return _erased({**row, "output_digest": output.digest})
    return {"fingerprint": of_line(row["cause"], _exit(row), line).id, "output_digest": output.digest}


def _erased(row: Row) -> Row:
    found = of_line(row["cause"], _exit(row), None)
    return {**row, "fingerprint": found.id, "error_line": found.line}


def _error_lines(statements: Statements, events: Sequence[RecordedEvent]) -> dict[str, str]:
    failures = [event.event for event in events if event.type == ev.AgentFailed.TYPE]
    outputs = [event.last_output for event in failures if isinstance(event, ev.AgentFailed)]
    digests = [output.digest for output in outputs if output and output.digest]
    found: dict[str, str] = {}
    for start in range(0, len(digests), _KEYS_A_QUERY):
        part = digests[start : start + _KEYS_A_QUERY]
        query = (
            "SELECT digest, error_line FROM payloads"  # noqa: S608 (marks)
            f" WHERE error_line IS NOT NULL AND digest IN ({', '.join('?' * len(part))})"
        )
        found.update(statements.rows(query, part))
    return found


def _exit(row: Row) -> Row | None:
    if row["exit_kind"] is None:
        return None
    return {"kind": row["exit_kind"], "code": row["exit_code"], "signal": row["exit_signal"]}
