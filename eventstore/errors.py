"""What can go wrong, one class for each thing that a caller would do differently.

Every message says "cannot …: why; what to do". The values in it are attributes as well, so that nobody parses text.
Exit codes and HTTP statuses are mapped at the edge, never here.
"""

from __future__ import annotations


class OutliveError(Exception):
    """Root of all errors that outlive raises on purpose."""


class InvalidRequest(OutliveError):
    """You asked wrongly: a bad name, an impossible value, an order that the present state does not allow."""


class IllegalTransition(OutliveError):
    """The lifecycle has no such step: the log is not one that outlive wrote, or there is a bug in outlive."""

    def __init__(self, *, state: str | None, event_type: str, detail: str = "") -> None:
        self.state = state
        self.event_type = event_type
        extra = f" ({detail})" if detail else ""
        super().__init__(
            f"cannot apply {event_type} to an agent in state {state or 'NEW'}{extra}: not in the lifecycle"
        )


class StoreUnavailable(OutliveError):
    """The database cannot be reached, read or written now (locked, full, gone, no permission); nothing was lost."""


class StoreDamaged(OutliveError):
    """What is in the database is not what was written. `position` is the first bad one, where known.

    `why`: what the database itself said, where it can no longer be read.
    """

    def __init__(self, message: str, *, position: int | None = None, why: str | None = None) -> None:
        self.position = position
        self.why = why
        super().__init__(message)


class SchemaMismatch(OutliveError):
    """The database was made by another version. `is_newer`: by a newer one, so only an upgrade of outlive helps."""

    def __init__(self, message: str, *, found: str, wanted: str, is_newer: bool) -> None:
        self.found = found
        self.wanted = wanted
        self.is_newer = is_newer
        super().__init__(message)


class VersionConflict(OutliveError):
    """The stream has moved on since the caller looked; read it again and decide again."""

    def __init__(self, *, stream: str, expected: int, actual: int) -> None:
        self.stream = stream
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"cannot append to {stream}: expected version {expected}, found {actual}; read the stream and decide again"
        )


class EventIdConflict(OutliveError):
    """An event with this id but other content is in the log already."""

    def __init__(self, *, event_id: str) -> None:
        self.event_id = event_id
        super().__init__(
            f"cannot append event {event_id}: the log holds another event under this id; make a new id"
        )


class EpochFenced(OutliveError):
    """Another coordinator has taken the home since: this one may neither append nor start anything."""

    def __init__(self, *, epoch: int, current: int) -> None:
        self.epoch = epoch
        self.current = current
        super().__init__(
            f"cannot append with epoch {epoch}: a newer coordinator holds epoch {current}; open this one again"
        )


class NoDatabase(StoreUnavailable):
    """There is no database yet: nothing has ever been recorded here. A reader may answer "nothing".

    `notice`: what whoever answers so should say beside it. `is_misnamed`: there is no such place, or a log beside it,
    and "nothing" would be wrong.
    """

    def __init__(self, message: str, *, notice: str | None = None, is_misnamed: bool = False) -> None:
        self.notice = notice
        self.is_misnamed = is_misnamed
        super().__init__(message)


class NameInUse(OutliveError):
    """An agent that has not ended has this name. `holder` is its id."""

    def __init__(self, *, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        super().__init__(
            f"cannot use the name {name!r}: agent {holder} has it and has not ended; stop it or choose another"
        )


class UnknownAgent(OutliveError):
    """No agent has this name, this id, or an id that starts so."""

    def __init__(self, *, reference: str, why: str = "", pruned_to: int = 0) -> None:
        self.reference = reference
        why = why or "no name and no id is like it; `outlive ps --all` lists them all"
        if pruned_to:
            why += f"; those that ended before position {pruned_to} were pruned: LOG_PRUNED names the export with them"
        super().__init__(f"cannot find agent {reference!r}: {why}")


class AmbiguousAgent(OutliveError):
    """Several ids start like this, or several homes have one of this name; `candidates` are some of them."""

    def __init__(self, *, reference: str, candidates: tuple[str, ...], is_by_place: bool = False) -> None:
        self.reference = reference
        self.candidates = candidates
        some = ", ".join(candidates)
        why = f"there are {some}; write it so" if is_by_place else f"it begins {some}; give more of the id"
        super().__init__(f"cannot tell which agent {reference!r} is: {why}")
