"""The parts of a post-mortem: the verdict with its evidence, who asked for what, what followed, the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eventstore.record import Head
from manager.why.material import Checkpoint, Entry

Cause = Literal[
    "exit",
    "signal by us",
    "oom",
    "signal by someone else",
    "failed start",
    "limit",
    "health",
    "host lost",
    "unknown",
    "completed",
    "still running",
]
Certainty = Literal["certain", "likely", "unknown"]
What = Literal["start", "stop", "kill", "signal", "restart", "cancel"]
Aftermath = Literal["restart", "restart due", "gave up", "cancelled", "nothing"]
Source = Literal["log", "shim record", "kernel", "boot id", "look", "nobody"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that the cause rests on, or that limits it. `positions` are those of the log that say so."""

    source: Source
    text: str
    positions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why the attempt ended.

    `certainty`: certain where somebody who saw or did it recorded it, and nothing else fits; likely where the record
    fits and something else is not ruled out; unknown where nobody saw it. `signal_position`: of the event that
    announced our signal. `message`, `phase` and `errno` as FAILED has them; for LOST the message is its reason.
    """

    cause: Cause
    certainty: Certainty
    evidence: tuple[Evidence, ...]
    exit: Mapping[str, Any] | None
    message: str | None = None
    phase: str | None = None
    errno: int | None = None
    signal_position: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Somebody wanted something of the attempt. `cause` is that of a stop: user, restart, limit, health, shutdown."""

    what: What
    position: int
    at: int
    actor: str
    reason: str | None
    cause: str | None
    signal: int | None
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How the attempt used memory and CPU up to its end (or now), by `count` samples."""

    count: int
    first_at: int
    last_at: int
    memory_first_bytes: int | None
    memory_last_bytes: int | None
    memory_most_bytes: int | None
    memory_bytes_per_second: float | None
    cpu_mean_percent: float | None
    cpu_last_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver:
    """Processes that were still there after the main one, and were then killed. `pids` null: that is not known."""

    pids: tuple[int, ...] | None
    is_tree_complete: bool
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAttempt:
    """The attempt after this one, and how it fared so far: `cause` as in a verdict."""

    attempt: int
    state: str
    cause: Cause
    exit: Mapping[str, Any] | None
    ended_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What came after the end: `what` in one word, the events that say so, and the next attempt, if there was one."""

    what: Aftermath
    entries: tuple[Entry, ...]
    next_attempt: NextAttempt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """A failure with the same fingerprint."""

    agent_id: str
    name: str
    attempt: int | None
    position: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Failures like this one, itself not counted; the `newest` of them.

    `is_all` false: there are older failures, which were not looked at.
    """

    fingerprint: str
    line: str
    count: int
    agents: int
    first_at: int | None
    last_at: int | None
    newest: tuple[Similar, ...]
    is_all: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierFailure:
    """The last attempt that failed, told along with one that runs or did not fail."""

    attempt: int
    cause: Cause
    certainty: Certainty
    exit: Mapping[str, Any] | None
    message: str | None
    ended_at: int
    error_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Where in the log it stands: the first and last row used, the log's head then, and what vouches for it outside.

    `wrong`: the position of the agent's first event that is not what was written; null where none is found to be.
    """

    first: Head
    last: Head
    head: Head
    outside: Head | None
    checkpoint: Checkpoint | None
    wrong: int | None
