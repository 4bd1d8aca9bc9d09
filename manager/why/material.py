"""What a post-mortem is made of: rows of the log, samples, failures of others, and what is known of the log itself.

Rows are read as the JSON that they hold: no vocabulary is loaded, and events of a newer version are carried along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from eventstore.errors import StoreDamaged
from eventstore.payloads import Found
from eventstore.record import Head, RecordedEvent

OUTCOMES = frozenset({"COMPLETED", "FAILED", "CANCELLED", "KILLED", "LOST"})
FAILURES = frozenset({"FAILED", "LOST"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log with its data as an object."""

    row: RecordedEvent
    data: Mapping[str, Any]

    @classmethod
    def of(cls, row: RecordedEvent) -> Entry:
        """Raises `StoreDamaged` for a row whose data is no JSON."""
        try:
            data = json.loads(row.data)
        except (ValueError, RecursionError) as error:
            raise StoreDamaged(
                f"cannot read the event at position {row.position}: its data is no JSON; run `outlive verify`",
                position=row.position,
            ) from error
        return cls(row, data if isinstance(data, dict) else {})

    @property
    def position(self) -> int:
        """Its place in the log."""
        return self.row.position

    @property
    def type(self) -> str:
        """The stored name of its type."""
        return self.row.type

    @property
    def at(self) -> int:
        """When it occurred, in microseconds, UTC."""
        return self.row.occurred_at


class Sample(NamedTuple):
    """What a living attempt used at one look; null what could not be seen."""

    attempt: int
    sampled_at: int
    cpu_percent: float | None
    memory_bytes: int | None
    threads: int | None
    processes: int | None


class OtherFailure(NamedTuple):
    """A failure of any agent: its FAILED or LOST, and the ZOMBIE_REAPED before it, if there is one."""

    agent_id: str
    name: str
    outcome: Entry
    exit: Mapping[str, Any] | None
    last_output: Found


class Checkpoint(NamedTuple):
    """A head of the log that was written down outside of it.

    `key_id` is the key that it names (null: none); its signature was not checked. `is_held`: the log has that hash
    there.
    """

    position: int
    hash: bytes
    recorded_at: int
    key_id: str | None
    is_held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """All of it. `entries`: the agent's stream, first to last; `home`: its home's stream, the last rows of it.

    `is_alive`: whether its process was seen alive just now; null where nobody looked, as for a time long ago.
    `failures` are the newest of all agents, this one's among them; `is_all_failures` false: there are older ones.
    `outside`: the head that is kept outside the log; null where that is missing. `as_of`: the instant that is
    looked at, in microseconds, where it is not the present. `wrong`: the position of the first of `entries` whose hash
    is not that of the row, or not what the rows around it say; null where all are.
    """

    agent_id: str
    name: str
    entries: tuple[Entry, ...]
    home: tuple[Entry, ...]
    samples: tuple[Sample, ...]
    failures: tuple[OtherFailure, ...]
    is_all_failures: bool
    last_output: Mapping[int, Found]
    is_alive: bool | None
    head: Head
    outside: Head | None
    checkpoint: Checkpoint | None
    as_of: int | None = None
    wrong: int | None = None
