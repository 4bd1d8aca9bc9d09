"""Many threads, one commit: whoever comes first leads and commits for all that came meanwhile.

A commit waits for the disk; while it does, others queue up, and the next leader takes all of them into one transaction.
It waits for as many as there were before, a part of the time that their commit took: else whoever comes back first
would commit alone, and the others wait for that. Nobody returns before the transaction with its events is durable.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from eventstore.errors import StoreUnavailable

Work = TypeVar("Work")
Result = TypeVar("Result")

PATIENCE = 0.25  # of the time of the commit before
PATIENCE_SECONDS = 0.02  # at most: that commit may have waited a minute for a lock
MAX_GROUP = 256  # orders in one commit; keeps a transaction to some tens of milliseconds


class _Ticket(Generic[Work, Result]):
    __slots__ = ("leads", "outcome", "ready", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.outcome: Result | BaseException | None = None
        self.leads = False
        self.ready = threading.Lock()
        self.ready.acquire()


class GroupCommit(Generic[Work, Result]):
    """Hands groups of submitted work to `commit`, which returns a result or an exception for each, in order."""

    def __init__(self, commit: Callable[[Sequence[Work]], Sequence[Result | Exception]]) -> None:
        self._commit = commit
        self._mutex = threading.Lock()
        self._waiting: deque[_Ticket[Work, Result]] = deque()
        self._is_led = False
        self._wanted = 1  # orders in the group before, and those that came meanwhile
        self._patience = 0.0
        self._is_full = threading.Event()

    def submit(self, work: Work) -> Result:
        """The result of `work`, once it is committed. Raises what `commit` answered or raised for it."""
        ticket: _Ticket[Work, Result] = _Ticket(work)
        with self._mutex:
            self._waiting.append(ticket)
            if len(self._waiting) >= self._wanted:
                self._is_full.set()
            if not self._is_led:
                self._is_led = ticket.leads = True
        if not ticket.leads:
            self._wait(ticket, ticket.ready.acquire)
        if ticket.leads:
            if len(self._waiting) < self._wanted:
                self._wait(ticket, lambda: self._is_full.wait(self._patience))
            self._lead(ticket)
        if isinstance(ticket.outcome, BaseException):
            raise ticket.outcome
        assert ticket.outcome is not None
        return ticket.outcome

    def _wait(self, ticket: _Ticket[Work, Result], wait: Callable[[], object]) -> None:
        try:
            wait()
        except BaseException:  # a KeyboardInterrupt, say: the others must not wait for a leader that left
            with self._mutex:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                if ticket.leads:
                    self._hand_over()
            raise

    def _lead(self, own: _Ticket[Work, Result]) -> None:
        with self._mutex:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
            self._is_full.clear()
        begun_at = time.monotonic()
        try:
            outcomes = self._commit([ticket.work for ticket in group])
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome = outcome
        except BaseException as error:
            for ticket in group:
                ticket.outcome = (
                    error if ticket is own or isinstance(error, Exception) else _interrupted(error)
                )
        finally:
            self._patience = min(PATIENCE * (time.monotonic() - begun_at), PATIENCE_SECONDS)
            with self._mutex:
                self._wanted = min(len(group) + len(self._waiting), MAX_GROUP)
                self._hand_over()
            for ticket in group:
                if ticket is not own:
                    ticket.ready.release()

    def _hand_over(self) -> None:
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].ready.release()
        else:
            self._is_led = False


def _interrupted(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(
        f"cannot tell whether the events were stored: the thread that wrote them was interrupted ({error!r}); try again"
    )
