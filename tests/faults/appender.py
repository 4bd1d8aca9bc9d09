"""A program that appends to a log and says what is acknowledged: `python -m tests.faults.appender DIRECTORY END`.

It waits for a line, appends `ORDERS` in two sittings, and prints the number of each when its append has returned. What
fails is tried again with the same ids, `TRIES` times. It closes the log at the end, or (END is "kill") kills itself.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from eventstore import events as ev
from eventstore.errors import OutliveError
from eventstore.record import NewEvent
from eventstore.store import EventStore
from projections.agents import STREAM_PREFIX, AgentsProjection
from tests.support.histories import PROCESS, new, reaped, spawning

TRIES = 3
# Imported on first use otherwise, and then a failing disk would fail an import.
for _name in (
    "eventstore.sqlite",
    "pydantic.type_adapter",
    "pydantic.dataclasses",
    "sqlalchemy.dialects.sqlite",
):
    import_module(_name)
STREAM = STREAM_PREFIX + "0123456789abcdef"
_HISTORY: list[list[ev.Event]] = [
    [spawning()],
    [ev.AgentStarted(attempt=1, process=PROCESS), ev.AgentRunning(attempt=1, evidence="x" * 20_000)],
    [ev.SignalSent(attempt=1, signal=10, reason=None)],
    [ev.SignalSent(attempt=1, signal=12, reason="y" * 5_000)],
    [reaped(), ev.AgentCompleted(attempt=1)],
]


def orders() -> list[tuple[int, list[NewEvent]]]:
    """Expected version and events of each append, the same in every process."""
    found, version = [], 0
    for events in _HISTORY:
        ids = [str(uuid5(NAMESPACE_OID, str(version + number))) for number in range(len(events))]
        found.append(
            (version, [new(event, event_id=one, at=1) for event, one in zip(events, ids, strict=True)])
        )
        version += len(events)
    return found


def opened(directory: Path) -> EventStore:
    """The log with its projection and its head outside."""
    return EventStore.open(
        f"sqlite:///{directory}/events.db",
        home="h",
        host="x",
        inline=[AgentsProjection()],
        head=directory / "head",
    )


def sit(directory: Path, numbers: range, ending: str) -> None:
    """Open, append, close. Raises `OutliveError` where it cannot be opened."""
    store = opened(directory)
    for number in numbers:
        version, events = orders()[number]
        for _ in range(TRIES):
            try:
                store.append(STREAM, events, expected_version=version, epoch=None)
            except OutliveError:
                continue
            os.write(1, b"%d\n" % number)
            break
        else:
            break  # what follows would not be next
    if ending == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    store.close()


def main(directory: str, ending: str) -> None:
    """Wait, append, end. Other errors than `OutliveError` end it with a traceback."""
    sys.stdin.readline()
    half = len(_HISTORY) // 2
    for numbers, how in ((range(half), "close"), (range(half, len(_HISTORY)), ending)):
        for _ in range(TRIES):
            with suppress(OutliveError):
                sit(Path(directory), numbers, how)
                break
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
