"""Refusals at the control socket: when the log is told of them, and telling it.

Whoever is refused may ask again at once and for ever, so what they add to the log is bounded: at most one event a uid
in `EVENT_SECONDS`, with the number of refusals since the one before. Beyond `MOST_UIDS` the rest are counted as one.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import OutliveError
from eventstore.home_events import RefusalRule, RequestRefused
from manager.requests import METHODS

if TYPE_CHECKING:
    from manager.coordinator import Coordinator

EVENT_SECONDS = 60.0
MOST_UIDS = 64


class Refusal(NamedTuple):
    """Who asked (None: several, or not known), by which rule they were refused, and the method that they gave."""

    uid: int | None
    pid: int | None
    rule: RefusalRule
    method: object


@dataclass(slots=True)
class _Asker:
    last: Refusal
    untold: int = 0
    told_at: float | None = None


class RefusalCounter:
    """Decides when an event is due, and of how many refusals it tells. `now`: seconds of a clock that nobody sets."""

    def __init__(self) -> None:
        self._askers: dict[int | None, _Asker] = {}

    def count(self, refusal: Refusal, now: float) -> tuple[Refusal, int] | None:
        """The last refusal and the number that an event is to tell of now; None where it is too early for one."""
        asker = self._asker(refusal, now)
        asker.untold += 1
        return _tell(asker, now) if _is_due(asker, now) else None

    def give_back(self, refusal: Refusal, number: int, now: float) -> None:
        """An event that was due could not be written: the next one tells of these, too."""
        self._asker(refusal, now).untold += number

    def rest(self, now: float) -> list[tuple[Refusal, int]]:
        """What no event has told of."""
        return [_tell(asker, now) for asker in self._askers.values() if asker.untold]

    def _asker(self, refusal: Refusal, now: float) -> _Asker:
        if refusal.uid not in self._askers and len(self._askers) >= MOST_UIDS:
            kept = {uid: a for uid, a in self._askers.items() if a.untold or not _is_due(a, now)}
            self._askers = kept
            if len(kept) >= MOST_UIDS:
                refusal = Refusal(None, None, refusal.rule, refusal.method)
        asker = self._askers.setdefault(refusal.uid, _Asker(refusal))
        asker.last = refusal
        return asker


def _is_due(asker: _Asker, now: float) -> bool:
    return asker.told_at is None or now - asker.told_at >= EVENT_SECONDS


def _tell(asker: _Asker, now: float) -> tuple[Refusal, int]:
    number, asker.untold, asker.told_at = asker.untold, 0, now
    return asker.last, number


class RefusalLog:
    """Tells a coordinator's log of refusals; for any thread but the coordinator's own."""

    def __init__(self, coordinator: Coordinator, clock: Callable[[], float] = time.monotonic) -> None:
        self._coordinator = coordinator
        self._clock = clock
        self._counter = RefusalCounter()
        self._counting = threading.Lock()

    def note(self, refusal: Refusal) -> None:
        """Count it, and return once the event that is due, if any, is durable or could not be written."""
        with self._counting:
            due = self._counter.count(refusal, self._clock())
        if due is not None:
            self._append(*due)

    def close(self) -> None:
        """Tell of the rest."""
        with self._counting:
            rest = self._counter.rest(self._clock())
        for refusal, number in rest:
            self._append(refusal, number)

    def _append(self, refusal: Refusal, number: int) -> None:
        try:
            self._coordinator.call(self._write(refusal, number)).result()
        except (OutliveError, concurrent.futures.CancelledError):
            with self._counting:
                self._counter.give_back(refusal, number, self._clock())

    async def _write(self, refusal: Refusal, number: int) -> None:
        method = refusal.method if isinstance(refusal.method, str) and refusal.method in METHODS else None
        event = RequestRefused(
            epoch=self._coordinator.ledger.epoch,
            uid=refusal.uid,
            pid=refusal.pid,
            rule=refusal.rule,
            method=method,
            refusals=number,
        )
        who = "others" if refusal.uid is None else f"uid:{refusal.uid}"
        self._coordinator.log.append(event, actor=f"{who}/socket")
