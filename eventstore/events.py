"""The vocabulary: every event that the log can hold, as frozen values.

`TYPE` is the stored name and with `SCHEMA_VERSION` all that ties a stored row to a class here: classes may be renamed,
stored names never. A change of shape needs a higher `SCHEMA_VERSION` and an upcaster in `eventstore/codec.py`.
Times (`…_at`) are integers: microseconds since the epoch, UTC. `…_seconds` are durations. Nothing here reads a clock or
makes an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from eventstore.home_events import CoordinatorEvent
from eventstore.values import Exit, Health, ProcessRecord, RecordedSpec, ResourceUse, StoredText, record


@record
class AgentSpawning:
    """Intent, committed before the fork. `directory` is relative to the home; `boot_id` is the host's at that time."""

    TYPE: ClassVar = "SPAWNING"
    SCHEMA_VERSION: ClassVar = 2
    attempt: int
    name: str
    spec: RecordedSpec
    spec_digest: str
    directory: str
    boot_id: str


@record
class AgentStarted:
    """The program was executed; its identity had been written before the gate opened."""

    TYPE: ClassVar = "STARTED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    process: ProcessRecord


@record
class AgentRunning:
    """Alive after the start window, or seen to be ready."""

    TYPE: ClassVar = "RUNNING"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    evidence: str


@record
class HealthChanged:
    """Health moved, because of `evidence` (the sample or probe that says so)."""

    TYPE: ClassVar = "HEALTH_CHANGED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    previous: Health
    health: Health
    evidence: str


@record
class StopRequested:
    """Somebody (the event's actor) or a rule wants the attempt to end. `forced` skips straight to SIGKILL.

    `grace_seconds` are the waits after SIGTERM, after the second SIGTERM, and after SIGKILL. Of several the last says
    whether another attempt follows: cause "restart" one does, "limit" or "health" as by its policy, else none. Where
    the first came from a limit or for its health, that stays why it ended.
    """

    TYPE: ClassVar = "STOP_REQUESTED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    cause: Literal["user", "restart", "limit", "health", "shutdown"]
    reason: str | None
    forced: bool
    grace_seconds: tuple[float, float, float]


@record
class SigtermSent:
    """Recorded before the signal: stage 1 goes to the main process, stage 2 to its tree. The next stage is due then."""

    TYPE: ClassVar = "SIGTERM_SENT"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    stage: Literal[1, 2]
    deadline_at: int


@record
class SigkillSent:
    """Recorded before the signal, which goes to the whole tree. Past the deadline the stop is reported as timed out."""

    TYPE: ClassVar = "SIGKILL_SENT"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    deadline_at: int


@record
class SignalSent:
    """Recorded before the signal: somebody asked for one that is not part of a stop."""

    TYPE: ClassVar = "SIGNAL_SENT"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    signal: int
    reason: str | None


@record
class StopTimedOut:
    """The last wait has passed and no end is known: what is there (in uninterruptible sleep?), or why, in `detail`."""

    TYPE: ClassVar = "STOP_TIMED_OUT"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    detail: str


@record
class ZombieReaped:
    """The attempt's main process is over: how it ended, who saw it, and what it left behind.

    `source` says where the exit comes from: the shim's record, the kernel's own answer to a pidfd that was held
    (`PIDFD_GET_INFO`), or nowhere. `leftovers` are the pids that were still there and were then killed; null when that
    is not known. `is_recovered`: it ended while nobody
    watched, and a recovery found it.
    """

    TYPE: ClassVar = "ZOMBIE_REAPED"
    SCHEMA_VERSION: ClassVar = 2
    attempt: int
    exit: Exit
    ended_at: int | None
    reaped_by: Literal["shim", "init", "nobody"]
    source: Literal["shim record", "pidfd", "none"]
    is_recovered: bool
    is_tree_complete: bool
    leftovers: tuple[int, ...] | None
    oom_killed: bool | None
    resources: ResourceUse | None


@record
class AgentCompleted:
    """Ended by itself with one of its success codes."""

    TYPE: ClassVar = "COMPLETED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int


@record
class AgentFailed:
    """Any other end that nobody asked for, a failed start, a limit, or a health stop.

    `phase` and `errno` tell where a start failed (mkdir, fork, cwd, user, exec, …); `last_output` are the last lines of
    stderr, or of stdout where stderr is empty, redacted; null where it wrote nothing.
    """

    TYPE: ClassVar = "FAILED"
    SCHEMA_VERSION: ClassVar = 4
    attempt: int
    cause: Literal["exit", "signal", "oom", "failed start", "limit", "health"]
    message: str
    phase: str | None
    errno: int | None
    last_output: StoredText | None


@record
class AgentCancelled:
    """Ended after a stop request, by SIGTERM at the most; or the attempt that was due was called off, for `reason`."""

    TYPE: ClassVar = "CANCELLED"
    SCHEMA_VERSION: ClassVar = 2
    attempt: int
    reason: str | None = None


@record
class AgentKilled:
    """Our SIGKILL was needed."""

    TYPE: ClassVar = "KILLED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int


@record
class AgentLost:
    """The exit status is unknowable, for `reason`."""

    TYPE: ClassVar = "LOST"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    reason: str


@record
class RestartScheduled:
    """Policy or a person wants another attempt at `due_at`; `used` restarts of the budget are spent with it."""

    TYPE: ClassVar = "RESTART_SCHEDULED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    next_attempt: int
    delay_seconds: float
    due_at: int
    used: int
    reason: str


@record
class RestartGivenUp:
    """The budget of restarts is spent."""

    TYPE: ClassVar = "RESTART_GIVEN_UP"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    used: int
    reason: str


@record
class AgentReattached:
    """A new coordinator watches the process again. `via` is its shim, or (shim lost) the process alone."""

    TYPE: ClassVar = "REATTACHED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: int
    via: Literal["shim", "process"]
    evidence: str
    unwatched_seconds: float


AgentEvent = (
    AgentSpawning
    | AgentStarted
    | AgentRunning
    | HealthChanged
    | StopRequested
    | SigtermSent
    | SigkillSent
    | SignalSent
    | StopTimedOut
    | ZombieReaped
    | AgentCompleted
    | AgentFailed
    | AgentCancelled
    | AgentKilled
    | AgentLost
    | RestartScheduled
    | RestartGivenUp
    | AgentReattached
)
Event = AgentEvent | CoordinatorEvent
EVENT_TYPES: Mapping[str, type[Event]] = {cls.TYPE: cls for cls in Event.__args__}
