"""What a coordinator's caller can meet beyond the store's errors (`eventstore.errors`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from eventstore.errors import OutliveError
from manager.status import AgentStatus


class HomeError(OutliveError):
    """The directory cannot serve as a home: unwritable, somebody else's, open to others, or no directory."""


class StartFailed(OutliveError):
    """The agent's program could not be executed, or ended inside its start window without success.

    `status` is the ended agent; `errno` says why it could not be executed, where that is the reason.
    """

    def __init__(self, message: str, *, status: AgentStatus, errno: int | None) -> None:
        self.status = status
        self.errno = errno
        super().__init__(message)

    @classmethod
    def of(cls, status: AgentStatus, failed: Mapping[str, Any], last_output: Iterable[str]) -> StartFailed:
        """The error for an agent whose FAILED event holds `failed`: its message, and the last lines it wrote."""
        lines = "".join(f"\n  {line}" for line in last_output)
        return cls(
            f"cannot start {status.name}: {status.message}{lines}", status=status, errno=failed["errno"]
        )


class SpecConflict(OutliveError):
    """`ensure` found an agent of that name that was started with another spec. `holder` is its id."""

    def __init__(self, *, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        super().__init__(
            f"cannot ensure {name!r}: agent {holder} has that name and another spec; choose another name"
        )


class TimedOut(OutliveError):
    """What was waited for did not happen in time. The wait is over; the agents go on."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """For a wait of so long."""
        return cls(f"cannot wait longer: {seconds:g} s have passed; the agents go on")


class SystemRefused(OutliveError):
    """The system has no descriptor, memory or thread for us just now, or its disk failed. Try again."""


@contextmanager
def system_refusals(doing: str) -> Iterator[None]:
    """Raise `SystemRefused` for what the system refuses inside, or in the function so decorated."""
    try:
        yield
    except OSError as error:
        raise SystemRefused(
            f"cannot {doing}: {error.strerror or error}; check the limits (ulimit -n) and the disk, then try again"
        ) from error
    except (
        ImportError
    ) as error:  # a module is loaded when it is first needed, and says no more of a failing disk
        raise SystemRefused(
            f"cannot {doing}: a module cannot be loaded ({error}); check the disk and the memory, then try again"
        ) from error
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise SystemRefused(
            f"cannot {doing}: no thread can be started; raise the limit (ulimit -u, pids.max), then try again"
        ) from error
