"""What the rows were when the log ended at an earlier position: a reader that shows the prefix and its fold.

An agent without a later event has the row that it had then. The others are folded anew from their events up to that
position, into temporary tables; views of the same names put the two together and hide what came later.
"""

from __future__ import annotations

from eventstore.reader import Reader


def show(reader: Reader, *, position: int, instant: int) -> None:
    """From now on every query of `reader` answers as of `position`, and as of `instant` where there are no positions.

    Raises `IllegalTransition` or `StoreDamaged` for events that cannot be folded.
    """
    with reader.hold() as schema:
        for table in ("agents", "attempts"):
            reader.rows(f"CREATE TEMP TABLE {table}_then AS SELECT * FROM {table} WHERE 1 = 0")  # noqa: S608 (our own names)
        moved_on = reader.rows(
            "SELECT a.agent_id FROM agents a JOIN events e ON e.stream = 'agent/' || a.agent_id AND e.version = 1"
            " WHERE a.position > ? AND e.position <= ?",
            (position, position),
        )
        for (agent_id,) in moved_on:
            _fold(reader, agent_id, position)
        settled = f"SELECT agent_id FROM {schema}.agents WHERE position <= {position}"  # noqa: S608 (our own values)
        _hide(reader, f"{schema}.events", f"position <= {position}")
        _hide(reader, f"{schema}.agents", f"position <= {position}", then="agents_then")
        _hide(reader, f"{schema}.attempts", f"agent_id IN ({settled})", then="attempts_then")
        _hide(reader, f"{schema}.samples", f"sampled_at <= {instant}")


def _fold(reader: Reader, agent_id: str, position: int) -> None:
    from projections.folding import folded_rows  # loads the vocabulary: only where something has to be folded

    for attempt, row in folded_rows(agent_id, reader.events(stream=f"agent/{agent_id}", until=position)):
        table = "agents_then" if attempt is None else "attempts_then"
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        reader.rows(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 (our names)


def _hide(reader: Reader, table: str, condition: str, *, then: str | None = None) -> None:
    more = "" if then is None else f" UNION ALL SELECT * FROM {then}"  # noqa: S608 (our own names)
    view = f"CREATE TEMP VIEW {table.rpartition('.')[2]} AS SELECT * FROM {table} WHERE {condition}{more}"  # noqa: S608
    reader.rows(view)
