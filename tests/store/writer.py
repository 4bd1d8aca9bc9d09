"""A program that appends: `python -m tests.store.writer URL NAME THREADS SECONDS [COUNT]`.

Each thread appends to its own stream, one event at a time, until the time or the count is up, and prints `stream
version event_id` after each acknowledgement. `OUTLIVE_CRASH` makes it kill itself.
"""

import os
import sys
import threading
import time
from uuid import NAMESPACE_OID, uuid5

from eventstore.store import EventStore
from tests.support.histories import new, note


def main(url: str, name: str, threads: int, seconds: float, count: int) -> None:
    """Append with all threads at once."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        print("ready", flush=True)
        sys.stdin.readline()
        deadline = time.monotonic() + seconds
        workers = [
            threading.Thread(target=_append, args=(store, f"{name}/{number}", deadline, count))
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def _append(store: EventStore, stream: str, deadline: float, count: int) -> None:
    version = 0
    while version < count and time.monotonic() < deadline:
        event_id = str(uuid5(NAMESPACE_OID, f"{stream}:{version + 1}"))
        store.append(stream, [new(note(), event_id=event_id)], expected_version=version, epoch=None)
        version += 1
        os.write(1, f"{stream} {version} {event_id}\n".encode())  # one write: lines of threads do not mix


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int([*sys.argv, "1000000"][5]))
