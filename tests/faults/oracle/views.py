"""The promise that what people read is the fold of the log: tables, `outlive ps`, status files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.oracle.case import Case
from tests.faults.oracle.report import Violation
from tests.faults.oracle.rows import OF_ATTEMPTS, history, shapes

OF_AGENTS = (
    *("name", "is_final", "since_at", "spawned_at", "due_at", "labels", "command", "cwd", "restarts_used"),
    *OF_ATTEMPTS,
)
AS_THEY_ARE = (
    *("name", "state", "attempt", "pid", "outcome", "labels", "command", "cwd", "directory", "cause"),
    *("message", "restarts_used"),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_views(case: Case) -> Iterator[Violation]:
    """Every row and every printed agent against the oracle's own fold."""
    yield from _tables(case)
    for view in case.views:
        yield from _printed(case, view)
    yield from _status_files(case)


def _tables(case: Case) -> Iterator[Violation]:
    folded = shapes(case.rows)
    agents = {row["agent_id"]: row for row in case.projected["agents"]}
    attempts = {(row["agent_id"], row["attempt"]): row for row in case.projected["attempts"]}
    expected = {
        (agent, number): row for agent, shape in folded.items() for number, row in shape.attempts.items()
    }
    for agent in agents.keys() ^ folded.keys():
        yield _of(agent, "the table agents and the log do not have the same agents")
    for agent, number in attempts.keys() ^ expected.keys():
        yield _of(agent, f"the table attempts and the log differ about there being attempt {number}")
    for agent in agents.keys() & folded.keys():
        row = {**agents[agent]}
        for name in ("labels", "command"):
            row[name] = json.loads(row[name])
        yield from _differences(agent, "agents", row, {n: folded[agent].row.get(n) for n in OF_AGENTS})
        state = json.loads(row["state_json"])
        yield from _differences(
            agent,
            "agents.state_json",
            state,
            {name: row[name] for name in ("state", "version", "attempt", "name", "since_at")},
        )
    for key in attempts.keys() & expected.keys():
        yield from _differences(key[0], f"attempts ({key[1]})", attempts[key], expected[key])


def _printed(case: Case, view: Mapping[str, Any]) -> Iterator[Violation]:
    position = view["position"]
    document = view["agents"]
    where = f"ps at {position}"
    if document["head"]["position"] != position:
        yield Violation("views are the fold", f"{where} names the head {document['head']['position']}")
    folded = shapes(row for row in case.rows if row.position <= position)
    order = sorted(folded, key=lambda agent: (folded[agent].row["spawned_at"], agent))
    printed = [agent["id"] for agent in document["agents"]]
    if printed != order:
        yield Violation("views are the fold", f"{where} lists {printed}, the log {order}")
    for agent in document["agents"]:
        if agent["id"] not in folded:
            continue
        row = folded[agent["id"]].row
        expected = {name: row[name] for name in AS_THEY_ARE}
        expected |= {"started_at": _time(row["started_at"]), "ended_at": _ended(row)}
        expected["exit"] = _exit(row)
        if row["ended_at"] is not None:
            expected |= {"is_alive": False, "health": row["health"]}
        if "state_since" in agent:
            expected["state_since"] = _time(row["since_at"])
        yield from _differences(agent["id"], where, agent, expected)


def _status_files(case: Case) -> Iterator[Violation]:
    """`status.json` is written behind the log: it is as of the event that it names, of which there may be newer."""
    states = history(case.rows)
    for attempt in case.attempts:
        try:
            text = (case.directory(attempt) / "status.json").read_text()
            told, _ = json.JSONDecoder().raw_decode(text)
        except (OSError, ValueError):
            continue  # for people only: where it is missing or torn, the log is what counts
        row = states.get((attempt.agent, told["version"]))
        if row is None:
            yield _of(attempt.agent, f"status.json is as of version {told['version']}, which the log lacks")
            continue
        expected = {name: row[name] for name in ("name", "state", "attempt", "pid")}
        expected |= {"exit": _exit(row), "since": _time(row["since_at"]), "ended_at": _ended(row)}
        yield from _differences(attempt.agent, "status.json", told, expected)


def _differences(
    agent: str, where: str, told: Mapping[str, Any], expected: Mapping[str, Any]
) -> Iterator[Violation]:
    for name, value in expected.items():
        if told.get(name) != value:
            yield _of(agent, f"{where}: {name} is {told.get(name)!r}, the log says {value!r}")


def _exit(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["exit_kind"] is None:
        return None
    return {name: row[f"exit_{name}"] for name in ("kind", "code", "signal", "reason")}


def _ended(row: Mapping[str, Any]) -> str | None:
    """Null where nobody saw it."""
    return None if row["exit_kind"] == "unknown" or row["outcome"] == "LOST" else _time(row["ended_at"])


def _time(at: int | None) -> str | None:
    if at is None:
        return None
    return (EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _of(agent: str, evidence: str) -> Violation:
    return Violation("views are the fold", evidence, None, agent)
