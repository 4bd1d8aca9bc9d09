"""Questions about agents, answered from the rows of the projection. Loads neither SQLAlchemy nor pydantic."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from eventstore.errors import AmbiguousAgent, UnknownAgent
from eventstore.reader import Reader

_SHOWN_CANDIDATES = 5
_IDS_A_QUERY = 500


class AgentRow(NamedTuple):
    """One agent as of the log's head: its state and, of its latest attempt, the facts. Times in microseconds, UTC.

    `pid` stays after the end: it is the pid that the attempt had. `exit_*` as in the log: a code, a signal, or unknown
    with its reason; all null while nothing has ended.
    """

    agent_id: str
    name: str
    state: str
    is_final: bool
    attempt: int
    since_at: int
    spawned_at: int
    due_at: int | None
    labels: Mapping[str, str]
    command: tuple[str, ...]
    cwd: str | None
    restarts_used: int
    pid: int | None
    start_ticks: int | None
    shim_pid: int | None
    boot_id: str
    directory: str
    requested_at: int
    started_at: int | None
    running_at: int | None
    ended_at: int | None
    exit_kind: str | None
    exit_code: int | None
    exit_signal: int | None
    exit_reason: str | None
    outcome: str | None
    cause: str | None
    message: str | None
    health: str
    home: str
    host: str
    version: int
    position: int


_IS_FINAL, _LABELS, _COMMAND = (AgentRow._fields.index(name) for name in ("is_final", "labels", "command"))


class AttemptRow(NamedTuple):
    """One attempt: its last state, which is its outcome once judged, and the facts. Times in microseconds, UTC."""

    agent_id: str
    attempt: int
    state: str
    pid: int | None
    start_ticks: int | None
    shim_pid: int | None
    boot_id: str
    directory: str
    requested_at: int
    started_at: int | None
    running_at: int | None
    ended_at: int | None
    exit_kind: str | None
    exit_code: int | None
    exit_signal: int | None
    exit_reason: str | None
    outcome: str | None
    cause: str | None
    message: str | None
    health: str
    home: str
    host: str
    version: int
    position: int


_AGENT = f"SELECT {', '.join(AgentRow._fields)} FROM agents"  # noqa: S608 (names of columns, no values)
_ATTEMPT = f"SELECT {', '.join(AttemptRow._fields)} FROM attempts"  # noqa: S608


def agents(
    reader: Reader,
    *,
    include_final: bool = True,
    state: str | Collection[str] | None = None,
    labels: Mapping[str, str] | None = None,
    home: str | None = None,
) -> list[AgentRow]:
    """Agents in the order they were first spawned, filtered: all of `labels` must match, any of the states."""
    where, parameters = ["1 = 1"], list[object]()
    if not include_final:
        where.append("is_final = 0")
    if state is not None:
        states = [state] if isinstance(state, str) else list(state)
        where.append(f"state IN ({', '.join('?' * len(states))})")
        parameters += states
    if home is not None:
        where.append("home = ?")
        parameters.append(home)
    rows = reader.rows(f"{_AGENT} WHERE {' AND '.join(where)} ORDER BY spawned_at, agent_id", parameters)
    found = [_agent(row) for row in rows]
    if not labels:
        return found
    return [row for row in found if labels.items() <= row.labels.items()]


def agent(reader: Reader, reference: str, *, home: str | None = None) -> AgentRow:
    """The agent of this name (the one that has not ended, else the newest), id, or unambiguous beginning of an id.

    Of the `home` first, else of any; `host/name`, or `home/name` with the id of a home, names one of another's.
    Raises `UnknownAgent`, `AmbiguousAgent`.
    """
    place, _, name = reference.rpartition("/")
    if not name or not reference.isascii():  # names and ids are; the database takes no lone surrogates
        raise UnknownAgent(reference=reference)
    there, parameters = (" AND (host = ? OR home = ?)", [place, place]) if place else ("", [])
    exact = reader.rows(
        f"{_AGENT} WHERE (name = ? OR agent_id = ?){there}"
        " ORDER BY agent_id = ? DESC, home = ? DESC, is_final, spawned_at DESC, position DESC LIMIT 1",
        (name, name, *parameters, name, home or ""),
    )
    if exact:
        found = _agent(exact[0])
        if found.agent_id != name and found.home != home:
            _require_one_home(reader, reference, name, there, parameters)
        return found
    alike = reader.rows(
        f"{_AGENT} WHERE substr(agent_id, 1, ?) = ?{there} ORDER BY agent_id LIMIT {_SHOWN_CANDIDATES}",
        (len(name), name, *parameters),
    )
    if not alike:
        raise UnknownAgent(reference=reference, pruned_to=reader.base().position)
    if len(alike) > 1:
        raise AmbiguousAgent(reference=reference, candidates=tuple(row[0] for row in alike))
    return _agent(alike[0])


def _require_one_home(reader: Reader, reference: str, name: str, there: str, parameters: list[str]) -> None:
    query = f"SELECT DISTINCT host, home FROM agents WHERE name = ?{there} ORDER BY host, home"  # noqa: S608 (no values)
    homes = reader.rows(query, (name, *parameters))
    if len(homes) > 1:
        are_hosts = len({host for host, _ in homes}) == len(homes)
        places = [host if are_hosts else home for host, home in homes]
        raise AmbiguousAgent(
            reference=reference,
            candidates=tuple(f"{place}/{name}" for place in places[:_SHOWN_CANDIDATES]),
            is_by_place=True,
        )


def agents_by_id(reader: Reader, ids: Collection[str]) -> dict[str, AgentRow]:
    """The agents of these ids; those that there are."""
    wanted = list(ids)
    found: dict[str, AgentRow] = {}
    for start in range(0, len(wanted), _IDS_A_QUERY):
        part = wanted[start : start + _IDS_A_QUERY]
        marks = ", ".join("?" * len(part))
        for row in reader.rows(f"{_AGENT} WHERE agent_id IN ({marks})", part):
            found[row[0]] = _agent(row)
    return found


def attempts(reader: Reader, agent_id: str) -> list[AttemptRow]:
    """The attempts of one agent, first to last; empty for an unknown id."""
    return [
        AttemptRow._make(row)
        for row in reader.rows(f"{_ATTEMPT} WHERE agent_id = ? ORDER BY attempt", (agent_id,))
    ]


def counts(reader: Reader, *, home: str | None = None) -> dict[str, int]:
    """How many agents are in each state; states that none is in are absent."""
    where, parameters = ("", ()) if home is None else (" WHERE home = ?", (home,))
    query = f"SELECT state, count(*) FROM agents{where} GROUP BY state ORDER BY state"  # noqa: S608 (no values)
    return dict(reader.rows(query, parameters))


def _agent(row: tuple[Any, ...]) -> AgentRow:
    values = list(row)
    values[_IS_FINAL] = bool(values[_IS_FINAL])
    values[_LABELS] = json.loads(values[_LABELS]) if values[_LABELS] != "{}" else {}
    values[_COMMAND] = tuple(json.loads(values[_COMMAND]))
    return AgentRow._make(values)
