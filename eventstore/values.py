"""The values that events are made of: specs, identities, exits. Times and units as in `eventstore/events.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[_T]) -> type[_T]:
    """Make `cls` a frozen, slotted, keyword-only dataclass that the codec reads strictly, refusing extra fields."""
    cls.__pydantic_config__ = {"strict": True, "extra": "forbid"}  # type: ignore[attr-defined]
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


class Health(StrEnum):
    """What the last samples or probes say about an agent; `unknown` until something looked."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@record
class RestartRule:
    """When an ended attempt is followed by another, and how long to wait before it.

    The k-th restart in a row waits `backoff_seconds * 2 ** (k - 1)`, at most `backoff_limit_seconds`; an attempt that
    ran for `reset_after_seconds` starts the count anew.
    """

    mode: Literal["never", "on-failure", "always"] = "never"
    max_restarts: int | None = None
    backoff_seconds: float = 1.0
    backoff_limit_seconds: float = 60.0
    reset_after_seconds: float = 60.0


@record
class ResourceLimits:
    """What an attempt and its whole tree may use before it is stopped; null: as much as they want.

    `wall_seconds` count from its start; `cpu_seconds` are user and system time of the whole tree so far.
    """

    wall_seconds: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    cpu_seconds: float | None = None


@record
class HealthLimits:
    """What shows that an attempt does not work any more, so that it is stopped; null: nothing.

    `silence_seconds`: for so long nothing was written to its stdout and stderr.
    """

    silence_seconds: float | None = None


@record
class RecordedSpec:
    """What was asked for, as the log keeps it: names of environment variables, never their values."""

    command: tuple[str, ...]
    cwd: str | None
    env_names: tuple[str, ...]
    inherit_env: bool
    user: str | None
    umask: int | None
    until: Literal["main", "tree"]
    start_window_seconds: float
    stop_grace_seconds: tuple[float, float, float]
    success_codes: tuple[int, ...]
    restart: RestartRule
    labels: Mapping[str, str]
    cgroup: bool = False
    limits: ResourceLimits | None = None
    health: HealthLimits | None = None


@record
class ProcessRecord:
    """Who the process is, beyond its pid, and who its shim is.

    `start_ticks` is raw, in clock ticks since boot (`/proc/PID/stat` field 22); `pidfd_inode` identifies a process
    uniquely on kernels with pidfs (Linux 6.9) and is null elsewhere. pid and start ticks alone are not unique.
    """

    pid: int
    start_ticks: int
    boot_id: str
    pid_namespace: int
    pidfd_inode: int | None
    shim_pid: int
    shim_start_ticks: int
    shim_pidfd_inode: int | None
    cgroup: str | None


@record
class ExitedWithCode:
    """The process called exit; somebody saw it."""

    kind: Literal["code"] = "code"
    code: int


@record
class ExitedBySignal:
    """A signal ended the process; somebody saw it. Exit code 137 is not this."""

    kind: Literal["signal"] = "signal"
    signal: int
    core_dumped: bool


@record
class ExitUnknown:
    """Nobody saw the end. It happened after `not_before_at` and before `not_after_at`, where those are known."""

    kind: Literal["unknown"] = "unknown"
    reason: str
    not_before_at: int | None
    not_after_at: int | None


Exit = ExitedWithCode | ExitedBySignal | ExitUnknown


Stream = Literal["stdout", "stderr"]


@record
class StoredText:
    """A text that is kept beside the log, so that it can be erased: see `docs/redaction.md`.

    `digest`: SHA-256 (hex) over its salt and its UTF-8; its key in the table `payloads`. Null in what older releases
    wrote into the event itself: that is in `text`, and cannot be erased. `likeness`: a hash of its error line, which
    some earlier versions wrote; null since, and read by nothing: whoever guesses an erased line could prove it by that.
    `stream`: what it was written to; null where an older release did not say.
    """

    digest: str | None
    size_bytes: int
    text: str | None = None
    likeness: str | None = None
    stream: Stream | None = None


@record
class ResourceUse:
    """What the kernel counted for the main process and its waited-for children, at its end.

    `max_memory_bytes`: null where it is no more than its shim had (9 MB or so), with whose pages it begins.
    """

    user_seconds: float
    system_seconds: float
    max_memory_bytes: int | None
