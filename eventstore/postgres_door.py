"""Connections made in a thread of their own: a network that answers nothing must not stop the one that asks.

One at a time: whoever makes one is told the session of the one before, which the server may still have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic

from eventstore.errors import StoreUnavailable
from eventstore.postgres_session import Session
from eventstore.postgres_source import Connected

AGAIN_SECONDS = (
    0.2  # for a connection that was lost to come back; meanwhile whoever writes is told that it is away
)


class Door(Generic[Connected]):
    """Makes one connection after another, when they are asked for; `make` ends the session of the one before."""

    def __init__(self, make: Callable[[Session | None], Connected], *, first_seconds: float) -> None:
        self._make = make
        self._first_seconds = first_seconds
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._made: Connected | None = None
        self._error: Exception | None = None
        self._before: Session | None = None
        self._was_open = self._is_closed = False

    def open(self) -> Connected:
        """The first connection once it is made; a later one if it is made at once. Raises `StoreUnavailable`."""
        with self._changed:
            if self._thread is None and self._made is None:
                self._thread = threading.Thread(target=self._run, name="outlive-connecting", daemon=True)
                self._thread.start()
            patience = AGAIN_SECONDS if self._was_open else self._first_seconds
            deadline = time.monotonic() + patience
            while self._thread is not None and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            made, self._made = self._made, None
            if made is not None:
                self._was_open, self._before = True, Session(*made.told)
                return made
            # Where this attempt is not over, the one before may have told why.
            raise self._error or StoreUnavailable(
                "cannot reach the database: the connection was lost, and the server does not answer; "
                "it is tried again"
            )

    def close(self) -> None:
        """Let nothing be left of it."""
        with self._changed:
            self._is_closed = True
            if self._made is not None:
                self._made.close()

    def _run(self) -> None:
        made, error = None, None
        try:
            made = self._make(self._before)
        except Exception as caught:
            error = caught
        with self._changed:
            self._thread, self._error = None, error
            if made is not None and self._is_closed:
                made.close()
            else:
                self._made = made
            self._changed.notify_all()
