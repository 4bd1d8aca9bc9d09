"""The part of the vocabulary that is about a home and its coordinators, on the home's own stream.

What `eventstore/events.py` says of shapes, times and units holds here, too.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from eventstore.values import record


@record
class CoordinatorStarted:
    """A coordinator took the home. Every later event of the home carries this epoch until the next one.

    `taken_over_from`: pid of a holder that did not answer and was ended for it, as the event's actor asked.
    """

    TYPE: ClassVar = "COORDINATOR_STARTED"
    SCHEMA_VERSION: ClassVar = 2
    attempt: ClassVar[None] = None
    epoch: int
    pid: int
    boot_id: str
    version: str
    taken_over_from: int | None = None


@record
class CoordinatorStopped:
    """A coordinator let go of the home in good order; `agents_left` had a process then."""

    TYPE: ClassVar = "COORDINATOR_STOPPED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: ClassVar[None] = None
    epoch: int
    agents_left: int


@record
class RecoveryCompleted:
    """What a recovery found, in agents, and how long it took. `due_attempts`: those that it began, being due."""

    TYPE: ClassVar = "RECOVERY_COMPLETED"
    SCHEMA_VERSION: ClassVar = 2
    attempt: ClassVar[None] = None
    epoch: int
    reattached: int
    ended: int
    lost: int
    never_started: int
    resumed_stops: int
    duration_seconds: float
    due_attempts: int = 0


RefusalRule = Literal["another user", "too many requests", "unreadable", "not possible"]


@record
class RequestRefused:
    """A coordinator refused what was asked at its socket; no more is kept of a request than its `method`.

    `rule`: `another user`, `too many requests` at once, `unreadable`, or `not possible` (an order that cannot be).
    At most one event a minute and uid: `refusals` counts those of this uid since the one before, and `pid`, `rule` and
    `method` are of the last. `uid` and `pid` are the kernel's word; null for the rest, when very many uids ask.
    """

    TYPE: ClassVar = "REQUEST_REFUSED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: ClassVar[None] = None
    epoch: int
    uid: int | None
    pid: int | None
    rule: RefusalRule
    method: str | None
    refusals: int


@record
class LogPruned:
    """The events up to `position`, whose hash was `hash`, were exported and then removed from the log.

    The file had this name and SHA-256 when it was written and checked; `events` were removed.
    """

    TYPE: ClassVar = "LOG_PRUNED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: ClassVar[None] = None
    position: int
    hash: str
    events: int
    export: str
    export_sha256: str


@record
class PayloadsErased:
    """Somebody (the event's actor) had texts of an agent erased; the events that name them by `digests` stay.

    `has_output`: what it wrote to its files, too.
    """

    TYPE: ClassVar = "PAYLOADS_ERASED"
    SCHEMA_VERSION: ClassVar = 1
    attempt: ClassVar[None] = None
    epoch: int
    agent_id: str
    digests: tuple[str, ...]
    has_output: bool
    reason: str | None


CoordinatorEvent = (
    CoordinatorStarted | CoordinatorStopped | RecoveryCompleted | RequestRefused | LogPruned | PayloadsErased
)
