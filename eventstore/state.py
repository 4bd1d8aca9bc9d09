"""What the log says about one agent: a state, and a phase that carries only what that state can have."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from eventstore.values import Exit, Health, ProcessRecord, RecordedSpec, record


class State(StrEnum):
    """Where an agent is, as people read it."""

    SPAWNING = "SPAWNING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    KILLED = "KILLED"
    LOST = "LOST"
    BACKOFF = "BACKOFF"


OUTCOMES = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.KILLED, State.LOST})


@record
class Stop:
    """A stop under way. `stage` 0: asked for, nothing sent; 1, 2: SIGTERM sent; 3: SIGKILL sent; 4: timed out.

    `cause` and `reason` are those of the last order, but a limit, or its health, stays the cause; `last_cause`: the
    last order's, which says whether another attempt follows.
    """

    requested_at: int
    cause: Literal["user", "restart", "limit", "health", "shutdown"]
    last_cause: Literal["user", "restart", "limit", "health", "shutdown"]
    reason: str | None
    forced: bool
    grace_seconds: tuple[float, float, float]
    stage: Literal[0, 1, 2, 3, 4] = 0
    deadline_at: int | None = None
    is_kill_sent: bool = False


@record
class Failure:
    """Why an attempt counts as failed; fields as in `eventstore.events.AgentFailed`."""

    cause: str
    message: str
    phase: str | None
    errno: int | None


@record
class Requested:
    """The intent is recorded; whether a process exists is for the attempt's directory to say."""

    kind: Literal["requested"] = "requested"


@record
class Live:
    """A process is there: starting (`running_at` null), running, or (`stop` set) stopping."""

    kind: Literal["live"] = "live"
    process: ProcessRecord
    started_at: int
    running_at: int | None = None
    stop: Stop | None = None


@record
class Ended:
    """The attempt's process is over, and, once judged, with which outcome. No process and no exit: it never started."""

    kind: Literal["ended"] = "ended"
    process: ProcessRecord | None
    started_at: int | None
    running_at: int | None
    stop: Stop | None
    exit: Exit | None
    is_tree_complete: bool
    ended_at: int
    outcome: State | None = None
    failure: Failure | None = None


@record
class Waiting:
    """Backing off until `due_at`, after `last`."""

    kind: Literal["waiting"] = "waiting"
    next_attempt: int
    due_at: int
    last: Ended


Phase = Requested | Live | Ended | Waiting


@record
class AgentState:
    """What the log says about one agent. `version` is the number of its events, all of them folded in."""

    name: str
    spec: RecordedSpec
    spec_digest: str
    state: State
    since_at: int
    version: int
    attempt: int
    directory: str
    boot_id: str
    spawned_at: int
    requested_at: int
    health: Health
    restarts_used: int
    phase: Phase

    @property
    def is_final(self) -> bool:
        """Whether nothing of it runs and, without a new order, nothing will."""
        return self.state in OUTCOMES

    @property
    def has_process(self) -> bool:
        """Whether a process of it runs, for all that is known: not while it waits for its next attempt."""
        return isinstance(self.phase, Requested | Live)
