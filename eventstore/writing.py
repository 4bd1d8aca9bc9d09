"""What a database's writer does the same whatever the database: one transaction, and the waking of followers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy import Connection, RootTransaction


class Writing(ABC):
    """Part of an `eventstore.backend.Backend`."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._wakeups = 0

    def wakeups(self) -> int:
        """How often `wake` was called in this process."""
        return self._wakeups

    def wake(self) -> None:
        """Wake this process's followers; those of others poll."""
        with self._news:
            self._wakeups += 1
            self._news.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Return on the next wake after `seen`, or when `seconds` have passed."""
        with self._news:
            self._news.wait_for(lambda: self._wakeups != seen, timeout=seconds)

    @contextmanager
    def _committing(
        self, connection: Connection, transaction: RootTransaction, committed: Callable[[], None] | None
    ) -> Iterator[Connection]:
        """The block in the transaction; then its commit, and `committed` when that is durable."""
        try:
            yield connection
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, Exception):
                self._fail(error, "write to")
            raise
        try:
            transaction.commit()
        except BaseException as error:
            self._leave()
            if isinstance(error, Exception):
                self._fail(error, "commit to", "whether it was stored is unknown until it is tried again")
            raise
        if committed is not None:
            committed()

    @abstractmethod
    def _roll_back(self, connection: Connection) -> None:
        """Leave nothing of the transaction, whatever is wrong with the connection."""

    def _leave(self) -> None:
        """A commit failed: no more of this connection, unless it is known that nothing was stored."""
        self._discard()

    @abstractmethod
    def _discard(self) -> None:
        """Let go of the connection: the next write makes a new one."""

    @abstractmethod
    def _fail(self, error: Exception, action: str, advice: str = "") -> NoReturn:
        """Raise the driver's error as ours."""
