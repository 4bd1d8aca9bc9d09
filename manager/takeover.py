"""Taking a home from a coordinator that does not answer. One that answers keeps it: it does what it is asked to do."""

from __future__ import annotations

import os
import signal
import time

from eventstore.crashpoints import crash_point
from eventstore.errors import OutliveError
from manager.control import NoCoordinator, ask
from manager.home import Home, HomeBusy, HomeLock
from manager.process.identity import Identity, Match, prove
from manager.process.signalling import send_signal

SILENT_SECONDS = (
    5.0  # without an answer in all this time it is stuck; one that opens a long log has no socket yet
)
GONE_SECONDS = 10.0  # for the old holder to be gone after SIGKILL; longer means uninterruptible sleep


def take(home: Home) -> HomeLock:
    """The home's lock; a holder that is stopped, or silent for `SILENT_SECONDS`, is ended for it with SIGKILL.

    Raises `HomeBusy` where it answers, or cannot be proved to be the process that took the lock; and `HomeError`.
    """
    deadline = time.monotonic() + SILENT_SECONDS
    while True:
        try:
            return home.acquire()
        except HomeBusy as busy:
            if busy.is_stopped:
                break
            if _answers(home, deadline - time.monotonic()):
                raise _alive(home, busy) from busy
            if time.monotonic() >= deadline:
                break
    ended = _end_holder(home)
    lock = home.acquire(wait_seconds=GONE_SECONDS)
    lock.taken_over_from = ended
    return lock


def _answers(home: Home, seconds: float) -> bool:
    """Whether its loop turns: an error is an answer, too."""
    try:
        ask(home.control_socket, "ping", {}, actor="takeover", answer_seconds=max(seconds, 0.1))
    except NoCoordinator:
        return False
    except OutliveError:
        return True
    return True


def _alive(home: Home, busy: HomeBusy) -> HomeBusy:
    holder = busy.holder or {}
    return HomeBusy(
        f"cannot take over {home.path}: process {holder.get('pid')} ({holder.get('argv')}) holds it and answers; "
        "ask it, or end it yourself",
        holder=busy.holder,
    )


def _end_holder(home: Home) -> int | None:
    """Prove who the holder is and end it; its pid. None where it was gone already."""
    holder = home.holder()
    if holder is None:
        return None
    try:
        identity = Identity(*(holder[field] for field in Identity._fields))
    except KeyError as error:
        raise HomeBusy(
            f"cannot take over {home.path}: its lock file does not say who holds it; end the holder by hand",
            holder=holder,
        ) from error
    proof = prove(identity, shim_holds_lock=False)
    if proof.match is Match.SAME and proof.process is not None and proof.process.pid != os.getpid():
        with proof.process:
            crash_point("coordinator.before_takeover")
            send_signal(proof.process, signal.SIGKILL)
            crash_point("coordinator.after_takeover")
        return identity.pid
    if proof.match is Match.UNCERTAIN:
        raise HomeBusy(
            f"cannot take over {home.path}: {proof.reason}; end process {identity.pid} by hand",
            holder=holder,
        )
    return None
