"""Making the rows of a projection anew from the log, and comparing the live rows with the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, MetaData, Table

from eventstore.appending import Statements
from eventstore.inline import pages, write_checkpoint
from eventstore.reader import Reader
from eventstore.state import AgentState
from eventstore.store import EventStore
from projections import tables
from projections.agents import STREAM_PREFIX, AgentsProjection, Row, advance, agent_row, attempt_row, is_over

_NEAR = 1000  # events left for the transaction that swaps, which holds the write lock


class Difference(NamedTuple):
    """Where a live row is not what the log says. A whole row that is missing or too many has column `*`."""

    agent_id: str
    attempt: int | None
    column: str
    live: Any
    folded: Any


def rebuild(store: EventStore) -> int:
    """Fold the log into new tables beside the live ones, then put the new rows in place; the position they stand at.

    Readers see the old rows until the swap, which is one transaction. Appends wait for the last few events only.
    """
    building = _Building()
    with store.write() as connection:
        building.create(connection)
    position = 0
    while (head := store.head().position) - position > _NEAR:
        for page in _chunks(position, head):
            with store.write() as connection:
                building.take_in(connection, *page)
        position = head
    with store.write() as connection:
        head = Statements(connection).rows("SELECT coalesce(max(position), 0) FROM events")[0][0]
        building.take_in(connection, position, head)
        building.swap(connection, head)
    return int(head)


def check(store: EventStore) -> list[Difference]:
    """Where the live rows of agents and attempts differ from a fold of the log; empty if they are the same.

    Looks at one moment of the database, one agent at a time.
    """
    reader = store.reader()
    try:
        with reader.snapshot():
            return list(_differences(reader))
    finally:
        reader.close()


class _Building:
    """The tables beside the live ones."""

    def __init__(self) -> None:
        metadata = MetaData()
        self._pairs = [(_beside(live, metadata), live) for live in (tables.agents, tables.attempts)]
        self._projection = AgentsProjection(agents=self._pairs[0][0], attempts=self._pairs[1][0])

    def create(self, connection: Connection) -> None:
        """Make them, over what a rebuild that was killed left behind."""
        for new, _ in self._pairs:
            new.drop(connection, checkfirst=True)
            new.create(connection)

    def take_in(self, connection: Connection, after: int, until: int) -> None:
        for page in pages(Statements(connection), after=after, until=until):
            self._projection.apply(connection, page)

    def swap(self, connection: Connection, position: int) -> None:
        for new, live in self._pairs:
            connection.execute(live.delete())
            connection.execute(live.insert().from_select([c.name for c in live.columns], new.select()))
            new.drop(connection)
        write_checkpoint(Statements(connection), self._projection, position)


def _beside(live: Table, metadata: MetaData) -> Table:
    columns = [column._copy() for column in live.columns]  # noqa: SLF001 (Table.to_metadata would copy the indexes)
    return Table(f"{live.name}_building", metadata, *columns, sqlite_strict=True)


def _chunks(after: int, until: int) -> Iterator[tuple[int, int]]:
    for start in range(after, until, _NEAR):
        yield start, min(start + _NEAR, until)


def _differences(reader: Reader) -> Iterator[Difference]:
    ids = {row[0] for row in reader.rows("SELECT agent_id FROM agents UNION SELECT agent_id FROM attempts")}
    streams = reader.rows(
        "SELECT DISTINCT stream FROM events WHERE stream >= ? AND stream < ?",
        (STREAM_PREFIX, STREAM_PREFIX[:-1] + chr(ord(STREAM_PREFIX[-1]) + 1)),
    )
    ids |= {stream.removeprefix(STREAM_PREFIX) for (stream,) in streams}
    for agent_id in sorted(ids):
        folded_agent, folded_attempts = _folded(reader, agent_id)
        live_agent = _live(reader, tables.agents, agent_id)
        yield from _compare(agent_id, None, live_agent[0] if live_agent else None, folded_agent)
        live_attempts = {row["attempt"]: row for row in _live(reader, tables.attempts, agent_id)}
        for attempt in sorted(live_attempts.keys() | folded_attempts.keys()):
            yield from _compare(agent_id, attempt, live_attempts.get(attempt), folded_attempts.get(attempt))


def _folded(reader: Reader, agent_id: str) -> tuple[Row | None, dict[int, Row]]:
    state: AgentState | None = None
    agent, attempts = None, dict[int, Row]()
    for recorded in reader.events(stream=STREAM_PREFIX + agent_id):
        before, state = state, advance(state, recorded)
        if state is not None:
            agent = agent_row(agent_id, state, recorded)
            if not is_over(before, state):
                attempts[state.attempt] = attempt_row(agent_id, state, recorded)
    return agent, attempts


def _live(reader: Reader, table: Table, agent_id: str) -> list[Row]:
    names = [column.name for column in table.columns]
    query = f"SELECT {', '.join(names)} FROM {table.name} WHERE agent_id = ?"  # noqa: S608 (our own names)
    return [dict(zip(names, row, strict=True)) for row in reader.rows(query, (agent_id,))]


def _compare(
    agent_id: str, attempt: int | None, live: Row | None, folded: Row | None
) -> Iterator[Difference]:
    if live is None or folded is None:
        if live is not folded:
            yield Difference(agent_id, attempt, "*", live and "present", folded and "present")
        return
    for column, value in folded.items():
        if live[column] != value:
            yield Difference(agent_id, attempt, column, live[column], value)
