"""What living processes used, a row a look: beside the log, for a bounded time. Reading them loads no SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.reader import Reader
from eventstore.record import rfc3339

if TYPE_CHECKING:
    from eventstore.statements import Statements


class Sample(NamedTuple):
    """One look at the whole tree of an attempt. `cpu_percent`: of one core, since the look before."""

    agent_id: str
    attempt: int
    sampled_at: int
    cpu_percent: float | None
    memory_bytes: int | None
    threads: int | None
    processes: int | None

    def as_json(self) -> dict[str, Any]:
        """The fields, with the time as text."""
        return {**self._asdict(), "sampled_at": rfc3339(self.sampled_at)}


_COLUMNS = ", ".join(Sample._fields)
_KEY = "agent_id, attempt, sampled_at"
_MARKS = ", ".join("?" * len(Sample._fields))
_INSERT = f"INSERT INTO samples ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING"  # noqa: S608 (no values)
_SELECT = f"SELECT {_COLUMNS} FROM samples WHERE agent_id = ?"  # noqa: S608
_REMOVE = "DELETE FROM samples WHERE agent_id = ? AND attempt = ? AND sampled_at = ?"
_OLDEST = f"SELECT {_KEY} FROM samples{{}} ORDER BY sampled_at LIMIT ?"  # noqa: S608
_REMOVE_OLDEST = f"DELETE FROM samples WHERE ({_KEY}) IN ({_OLDEST})"  # noqa: S608


def samples(reader: Reader, agent_id: str, attempt: int | None = None) -> list[Sample]:
    """The samples of an agent, or of one of its attempts, in order of time. Raises as `Reader.rows` does."""
    where, parameters = ("", [agent_id]) if attempt is None else (" AND attempt = ?", [agent_id, attempt])
    return list(map(Sample._make, reader.rows(f"{_SELECT}{where} ORDER BY sampled_at, attempt", parameters)))


def count(reader: Reader, agent_id: str | None = None) -> int:
    """How many samples there are, of one agent or of all."""
    where, parameters = ("", ()) if agent_id is None else (" WHERE agent_id = ?", (agent_id,))
    [(found,)] = reader.rows(f"SELECT count(*) FROM samples{where}", parameters)  # noqa: S608
    return int(found)


# --- in a transaction ---------------------------------------------------------------------------------------------


def insert(statements: Statements, rows: Sequence[Sample]) -> None:
    """Add samples; one of the same moment as another of its attempt is left out."""
    statements.run_many(_INSERT, rows)


def remove(statements: Statements, rows: Iterable[Sample]) -> None:
    """Take out these."""
    statements.run_many(_REMOVE, [row[:3] for row in rows])


def remove_before(statements: Statements, at: int, limit: int) -> int:
    """Take out the oldest of those taken before `at`, at most `limit`; how many there were."""
    return statements.count(_REMOVE_OLDEST.format(" WHERE sampled_at < ?"), (at, limit))


def remove_oldest(statements: Statements, limit: int) -> int:
    """Take out the oldest, at most `limit`; how many there were."""
    return statements.count(_REMOVE_OLDEST.format(""), (limit,))
