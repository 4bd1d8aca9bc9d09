"""Current agents and their attempts, applied inside the append: a listing is never behind the log.

The whole state of an agent is stored with its row, so that the next event needs one look-up and not its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table

from eventstore.codec import UnknownEvent
from eventstore.errors import NameInUse
from eventstore.events import AgentSpawning
from eventstore.lifecycle import evolve
from eventstore.reader import Reader
from eventstore.record import RecordedEvent
from eventstore.state import AgentState, Ended, Failure, Live, State, Stop, Waiting
from eventstore.statements import AMONG, EACH, Query, Rows, Statements, texts
from eventstore.values import Exit, ExitedBySignal, ExitedWithCode, ExitUnknown
from projections import recent, tables
from projections.rows import Row, json_list, json_object, upsert, values_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from eventstore.appending import Draft

STREAM_PREFIX = "agent/"
_MOST_RECENT = 20_000


def advance(state: AgentState | None, recorded: RecordedEvent) -> AgentState | None:
    """The state after a row of the agent's stream. An event of a newer release is skipped, its version counted.

    Raises `IllegalTransition` for what the lifecycle lacks, `StoreDamaged` for a row that can't be read.
    """
    event = recorded.event
    if not isinstance(event, UnknownEvent):
        # Only agents' events are in agents' streams; evolve refuses any other.
        state = evolve(state, event, recorded.occurred_at)  # type: ignore[arg-type]
    if state is None or state.version == recorded.version:
        return state
    return replace(state, version=recorded.version)


def fold(events: Iterable[RecordedEvent]) -> AgentState | None:
    """The state after all rows of one agent's stream, None for none."""
    state: AgentState | None = None
    for recorded in events:
        state = advance(state, recorded)
    return state


class AgentsProjection:
    """Keeps the tables `agents` and `attempts` (or others of that shape, to build beside the live ones)."""

    name = "agents"
    version = 3  # raised when the fold or the tables change: the rows are then made anew, where the log is next opened

    def __init__(self, agents: Table = tables.agents, attempts: Table = tables.attempts) -> None:
        self._agents = agents
        self._attempts = attempts
        self._upsert_agents = upsert(agents)
        self._upsert_attempts = upsert(attempts)
        self._agent_values, self._attempt_values = values_of(agents), values_of(attempts)
        self._recent: dict[str, AgentState] = {}  # agent → its state after its last event

    def question(self, home: str, drafts: Iterable[Draft]) -> Query:
        """Whose the names are that agents of these are to have."""
        names = {draft.event.name for draft in drafts if isinstance(draft.event, AgentSpawning)}
        query = (
            "SELECT key, (SELECT agent_id FROM agents"  # noqa: S608 (a constant)
            f" WHERE home = ? AND name = wanted.key AND is_final = 0) FROM {EACH} wanted"
        )
        return Query(query, (home, texts(sorted(names))))

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Take in the events of agents' streams.

        Raises `NameInUse` when a name would have two agents that have not ended, `IllegalTransition`.
        """
        self.apply_knowing(connection, events, None)

    def apply_knowing(
        self, connection: Connection, events: Sequence[RecordedEvent], answer: Rows | None
    ) -> None:
        """See `eventstore.inline.Inline`."""
        mine = [event for event in events if event.stream.startswith(STREAM_PREFIX)]
        if not mine:
            return
        statements = Statements(connection)
        states = self._states(statements, mine)
        were_live = {agent_id for agent_id, state in states.items() if state and not state.is_final}
        last: dict[str, RecordedEvent] = {}
        touched: dict[tuple[str, int], tuple[AgentState, RecordedEvent]] = {}
        for event in mine:
            agent_id = agent_id_of(event.stream)
            before = states.get(agent_id)
            state = states[agent_id] = advance(before, event)
            if state is not None:
                last[agent_id] = event
                if not is_over(before, state):
                    touched[agent_id, state.attempt] = (state, event)
        rows = [agent_row(agent_id, state, last[agent_id]) for agent_id, state in states.items() if state]
        rows.sort(key=lambda row: -row["is_final"])  # a name is given back before it is taken
        self._require_free_names(statements, rows, were_live, _holders(mine, answer))
        if rows:
            statements.run_many(self._upsert_agents, list(map(self._agent_values, rows)))
            attempts = [attempt_row(agent_id, *pair) for (agent_id, _), pair in touched.items()]
            statements.run_many(self._upsert_attempts, list(map(self._attempt_values, attempts)))
            self._remember(states)

    def forget(self) -> None:
        """The log may not be as it was when the states were remembered."""
        self._recent.clear()

    def doubt(self, reader: Reader, *, rows: int) -> str | None:
        """What of its rows does not fit the last `rows` events."""
        return recent.doubt(reader, rows=rows)

    def reset(self, connection: Connection) -> None:
        """Empty both tables."""
        connection.execute(self._agents.delete())
        connection.execute(self._attempts.delete())

    def _states(
        self, statements: Statements, events: Sequence[RecordedEvent]
    ) -> dict[str, AgentState | None]:
        found: dict[str, AgentState | None] = {}
        unknown = []
        for event in events:
            agent_id = agent_id_of(event.stream)
            if agent_id in found:
                continue
            known = found[agent_id] = self._recent.get(agent_id) if event.version > 1 else None
            if event.version > 1 and (known is None or known.version != event.version - 1):
                unknown.append(agent_id)
        if unknown:
            query = f"SELECT agent_id, state_json FROM {self._agents.name} WHERE agent_id {AMONG}"  # noqa: S608
            stored = dict(statements.rows(query, (texts(unknown),)))
            for agent_id in unknown:
                found[agent_id] = (
                    _state_adapter().validate_json(stored[agent_id]) if agent_id in stored else None
                )
        return found

    def _remember(self, states: Mapping[str, AgentState | None]) -> None:
        if len(self._recent) > _MOST_RECENT:
            self._recent.clear()
        for agent_id, state in states.items():
            if state is not None and not state.is_final:
                self._recent[agent_id] = state
            else:
                self._recent.pop(agent_id, None)

    def _require_free_names(
        self, statements: Statements, rows: list[Row], were_live: set[str], holders: dict[str, set[str]]
    ) -> None:
        # The unique index decides; knowing first gives the answer a holder's name, on any database.
        taken: dict[tuple[str, str], str] = {}
        ended = {row["agent_id"] for row in rows if row["is_final"]}
        query = f"SELECT agent_id FROM {self._agents.name} WHERE home = ? AND name = ? AND is_final = 0"  # noqa: S608
        for row in rows:
            if row["is_final"]:
                continue
            agent_id, name = row["agent_id"], row["name"]
            holder = taken.setdefault((row["home"], name), agent_id)
            if holder == agent_id and agent_id not in were_live:
                found = holders.get(name)
                if found is None:
                    found = {other for (other,) in statements.rows(query, (row["home"], name))}
                holder = next(iter(found - ended - {agent_id}), agent_id)
            if holder != agent_id:
                raise NameInUse(name=name, holder=holder)


def _holders(events: Iterable[RecordedEvent], answer: Rows | None) -> dict[str, set[str]]:
    """Whose the names are that were asked for in the question to `answer`."""
    if answer is None:
        return {}
    holders = {event.event.name: set[str]() for event in events if isinstance(event.event, AgentSpawning)}
    for name, agent_id in answer:
        if agent_id and name in holders:
            holders[name].add(agent_id)
    return holders


def agent_id_of(stream: str) -> str:
    """The agent's id in the name of its stream."""
    return stream.removeprefix(STREAM_PREFIX)


def is_over(before: AgentState | None, after: AgentState) -> bool:
    """Whether the attempt that `after` is in had been judged already: what follows leaves its row alone.

    A restart that is scheduled and then cancelled ends the agent; it does not change how the attempt before it ended.
    """
    if before is None or before.attempt != after.attempt:
        return False
    return isinstance(before.phase, Waiting) or (
        isinstance(before.phase, Ended) and before.phase.outcome is not None
    )


def agent_row(agent_id: str, state: AgentState, last: RecordedEvent) -> Row:
    """The row of `agents` for `state`, whose last event is `last`."""
    return {
        "agent_id": agent_id,
        "name": state.name,
        "state": str(state.state),
        "is_final": int(state.is_final),
        "attempt": state.attempt,
        "since_at": state.since_at,
        "spawned_at": state.spawned_at,
        "due_at": state.phase.due_at if isinstance(state.phase, Waiting) else None,
        "labels": json_object(tuple(sorted(state.spec.labels.items()))),
        "command": json_list(state.spec.command),
        "cwd": state.spec.cwd,
        "restarts_used": state.restarts_used,
        "state_json": _state_adapter().dump_json(state).decode(),
        **_facts(state, last),
    }


def attempt_row(agent_id: str, state: AgentState, last: RecordedEvent) -> Row:
    """The row of `attempts` for the attempt that `state` is in, until it `is_over`."""
    return {
        "agent_id": agent_id,
        "attempt": state.attempt,
        "state": str(state.state),
        **_facts(state, last),
    }


def _facts(state: AgentState, last: RecordedEvent) -> Row:
    phase = state.phase.last if isinstance(state.phase, Waiting) else state.phase
    live = phase if isinstance(phase, Live | Ended) else None
    ended = phase if isinstance(phase, Ended) else None
    process = live.process if live else None
    cause, message = _why(live.stop if live else None, ended.failure if ended else None, ended)
    return {
        "pid": process.pid if process else None,
        "start_ticks": process.start_ticks if process else None,
        "shim_pid": process.shim_pid if process else None,
        "boot_id": state.boot_id,
        "directory": state.directory,
        "requested_at": state.requested_at,
        "started_at": live.started_at if live else None,
        "running_at": live.running_at if live else None,
        "ended_at": ended.ended_at if ended else None,
        **exit_columns(ended.exit if ended else None),
        "outcome": str(ended.outcome) if ended and ended.outcome else None,
        "cause": cause,
        "message": message,
        "health": str(state.health),
        "home": last.home,
        "host": last.host,
        "version": last.version,
        "position": last.position,
    }


def _why(stop: Stop | None, failure: Failure | None, ended: Ended | None) -> tuple[str | None, str | None]:
    """Why it failed or was lost; else why it was asked to stop, unless it had completed before that."""
    if failure:
        return failure.cause, failure.message
    if stop and not (ended and ended.outcome == State.COMPLETED):
        return stop.cause, stop.reason
    return None, None


def exit_columns(seen: Exit | None) -> Row:
    """How something ended, as columns keep it; all null while it has not."""
    row: Row = {"exit_kind": None, "exit_code": None, "exit_signal": None, "exit_reason": None}
    match seen:
        case ExitedWithCode(code=code):
            return row | {"exit_kind": "code", "exit_code": code}
        case ExitedBySignal(signal=number):
            return row | {"exit_kind": "signal", "exit_signal": number}
        case ExitUnknown(reason=reason):
            return row | {"exit_kind": "unknown", "exit_reason": reason}
        case None:
            return row


@cache
def _state_adapter() -> TypeAdapter[AgentState]:
    from pydantic import TypeAdapter

    return TypeAdapter(AgentState)
