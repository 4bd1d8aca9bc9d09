"""What a database has to offer for the log to live in it. Everything that differs between databases is behind this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from eventstore.memory import NOTHING, First
from eventstore.statements import Rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from eventstore.reader import Reader


class Begun(NamedTuple):
    """A transaction that has the write lock. `answers`: to what was to be asked first, with the lock held."""

    connection: Connection
    answers: Sequence[Rows]


class Backend(Protocol):
    """One open database. Its errors are outlive's: `StoreUnavailable`, `StoreDamaged`, never the driver's.

    `is_far`: to ask it takes a while, so what is known without asking shall only be checked.
    """

    is_far: bool

    def settle(self) -> None:
        """Undo what a process that was killed while it made the database left half done, and readers may not touch."""

    def prepare(self, *, is_upgrade: bool = False, create: bool = True) -> None:
        """Make a new database under a lock; raise `SchemaMismatch` for an old one unless it may be upgraded.

        An upgrade puts back the triggers that keep the log from being changed, where they are not as they should be.
        """

    def schema_version(self) -> str | None:
        """The revision of the schema, None for no database."""

    def write(
        self,
        *,
        first: First = NOTHING,
        committed: Callable[[], None] | None = None,
        wait_seconds: float | None = None,
    ) -> AbstractContextManager[Begun]:
        """Hold the write lock and a transaction: committed at the end, rolled back on an exception.

        `first` is asked together with the lock; with a check it is believed: the check goes with the rest, and where it
        fails, or the connection is lost, `Disproved` is raised. `committed` is called when the commit is durable, still
        under the lock. Positions are dense only because there is one such transaction at a time, over all processes. A
        failed commit is ambiguous, and its error says so. `wait_seconds`: give up sooner than others do when somebody
        else holds the lock.
        """

    def reader(self) -> Reader:
        """A reader of its own, for one thread at a time or many."""

    def wakeups(self) -> int:
        """A number that grows with each `wake`, here or (where the database tells) elsewhere."""

    def wake(self) -> None:
        """Tell followers that there is something new. Only a hint: followers poll as well."""

    def wait(self, seen: int, seconds: float) -> None:
        """Return when `wakeups` is no longer `seen`, at the latest after `seconds`."""

    def scrub(self) -> bool:
        """Let nothing of what was erased be left in the database's files; False while a reader needs the past."""

    def close(self) -> None:
        """Let go of the database."""
