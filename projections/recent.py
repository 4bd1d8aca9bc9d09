"""Whether the rows of agents fit the log, as far as can be told quickly: by the types of its last events.

What a start relies on is looked at: which agents there are, their names, whether they have ended. Loads no event.
"""

from __future__ import annotations

import json

from eventstore.lifecycle import TRANSITIONS
from eventstore.reader import Reader
from eventstore.state import OUTCOMES, State

_PREFIX = "agent/"
_quoted = json.JSONEncoder(ensure_ascii=False).encode
_IDS_A_QUERY = 500
_OLD_ROWS = 10_000  # of agents that ended before the last events

_TARGETS: dict[str, set[State]] = {}
for _row in TRANSITIONS.values():
    for _type, _state in _row.items():
        _TARGETS.setdefault(_type, set()).add(_state)
_STATE = {kind: str(*states) for kind, states in _TARGETS.items() if len(states) == 1}
_IS_FINAL = {
    kind: int(states <= OUTCOMES)
    for kind, states in _TARGETS.items()
    if states <= OUTCOMES or not states & OUTCOMES
}


def doubt(reader: Reader, *, rows: int) -> str | None:
    """What does not fit: by the last `rows` events, and for agents that ended before those; None for nothing."""
    after = reader.head().position - rows
    events = reader.rows(
        "SELECT stream, version, type, position, home, attempt FROM events WHERE position > ? ORDER BY position",
        (after,),
    )
    last = {stream: rest for stream, *rest in events if stream.startswith(_PREFIX)}
    spawned = dict(
        reader.rows("SELECT stream, data FROM events WHERE type = 'SPAWNING' AND position > ?", (after,))
    )
    live = _live(reader, [stream.removeprefix(_PREFIX) for stream in last])
    for stream, (version, kind, position, home, attempt) in last.items():
        found = live.get(stream)
        if found is None:
            return f"{stream} has no row"
        wanted = {
            "version": version,
            "position": position,
            "home": home,
            "attempt": attempt,
            "name": _name_if_not(found["name"], spawned[stream]) if stream in spawned else None,
            "state": _STATE.get(kind),
            "is_final": _IS_FINAL.get(kind),
        }
        for column, value in wanted.items():
            if value is not None and found[column] != value:
                return f"{column} of {stream} is {found[column]!r}, the log says {value!r}"
    return _doubt_of_old(reader, max(after, 0))


def _name_if_not(name: object, data: str) -> str | None:
    """The name in the data of a SPAWNING event, if it is another one; None also where there is none."""
    # Its keys are sorted, and before `name` come only numbers and texts, whose quotes are escaped.
    _, _, rest = data.partition(',"name":')
    if isinstance(name, str) and rest.startswith(f"{_quoted(name)},"):
        return None
    found: str | None = json.loads(data).get("name")
    return found


def _live(reader: Reader, ids: list[str]) -> dict[str, dict[str, object]]:
    columns = ("agent_id", "name", "state", "is_final", "attempt", "home", "version", "position")
    found = {}
    for start in range(0, len(ids), _IDS_A_QUERY):
        part = ids[start : start + _IDS_A_QUERY]
        query = f"SELECT {', '.join(columns)} FROM agents WHERE agent_id IN ({', '.join('?' * len(part))})"  # noqa: S608
        for row in reader.rows(query, part):
            found[_PREFIX + row[0]] = dict(zip(columns, row, strict=True))
    return found


def _doubt_of_old(reader: Reader, until: int) -> str | None:
    living = [kind for kind, is_final in _IS_FINAL.items() if not is_final]
    found = reader.rows(
        "SELECT a.agent_id, e.type FROM"  # noqa: S608 (marks, no values)
        f" (SELECT agent_id, version, position FROM agents WHERE is_final <> 0 AND position <= ? LIMIT {_OLD_ROWS}) a"
        " LEFT JOIN events e ON e.position = a.position"
        " WHERE e.type IS NULL OR e.stream <> 'agent/' || a.agent_id OR e.version <> a.version"
        f" OR e.type IN ({', '.join('?' * len(living))}) LIMIT 1",
        (until, *living),
    )
    return (
        f"agent/{found[0][0]} is told to have ended, and its last event is {found[0][1]}" if found else None
    )
