"""Orders and observations: everything that `manager.decide` can be asked about one agent.

Orders come from people and policies, observations from the operating system; both go through the same door. Times are
microseconds since the epoch, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eventstore.payloads import Payload
from eventstore.values import Exit, Health, ProcessRecord, RecordedSpec, ResourceUse

StopCause = Literal["user", "restart", "limit", "health", "shutdown"]
Stage = Literal[0, 1, 2, 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Start the next attempt. `directory` is relative to the home and names an attempt that nobody has used."""

    name: str
    spec: RecordedSpec
    spec_digest: str
    directory: str
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmStarted:
    """The program was executed, at `executed_at` by its shim's record; None: when is not known."""

    process: ProcessRecord
    executed_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFailedStart:
    """No program was executed, and it is known why."""

    phase: str
    errno: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PassStartWindow:
    """The process was alive when its start window had passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStop:
    """End it: in three stages, or (`forced`) at once. `grace_seconds` None: as the spec says."""

    cause: StopCause = "user"
    reason: str | None = None
    forced: bool = False
    grace_seconds: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceStop:
    """The deadline of the present stage has passed. `detail` says what is still there.

    `is_tree_gone`: no process is left to signal; what is waited for is the record of the exit.
    """

    detail: str = ""
    is_tree_gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledOrder:
    """An order to stop that is in no log: who gave it, and what it said."""

    actor: str
    correlation_id: str
    cause: StopCause
    reason: str | None
    grace_seconds: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallSignal:
    """A signal of a stop that was sent while the log could not be written, by the mark that was left before it.

    `stage` as in `eventstore.state.Stop`; 0: no signal, a next attempt was called off. `order`: the one that it began
    with, where the log lacks that, too.
    """

    at: int
    stage: Stage
    order: RecalledOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSignal:
    """Send one signal to the main process."""

    signal: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveExit:
    """The main process is over. Fields as in `eventstore.events.ZombieReaped`; `last_output`: last lines it wrote.

    `ran_seconds`: from its exec to its end by a clock that nobody sets, where its shim saw both.
    """

    exit: Exit
    ended_at: int | None
    reaped_by: Literal["shim", "init", "nobody"]
    source: Literal["shim record", "pidfd", "none"]
    is_recovered: bool = False
    is_tree_complete: bool = True
    leftovers: tuple[int, ...] | None = None
    oom_killed: bool | None = None
    resources: ResourceUse | None = None
    last_output: Payload | None = None
    ran_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveHealth:
    """A sample or probe says how the process does."""

    health: Health
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reattach:
    """A new coordinator found it alive."""

    via: Literal["shim", "process"]
    evidence: str
    unwatched_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareLost:
    """Whether the program ever ran, and how it ended, is unknowable."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Another attempt of an agent that has ended or waits for it, now, because somebody wants it."""

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBackoff:
    """Do not start the attempt that is waiting."""

    reason: str | None = None


Command = (
    Spawn
    | ConfirmStarted
    | ReportFailedStart
    | PassStartWindow
    | RequestStop
    | AdvanceStop
    | RecallSignal
    | SendSignal
    | ObserveExit
    | ObserveHealth
    | Reattach
    | DeclareLost
    | Restart
    | CancelBackoff
)
