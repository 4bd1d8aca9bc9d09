"""`python -m benchmarks.verify`: the hash chain of a long log computed anew, beside what others take to read theirs."""

import argparse
import contextlib
import json
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.appends import BATCH, BODY, new_event
from benchmarks.filesystem import description, fresh_folder
from benchmarks.report import Section, spread, times
from eventstore import segments
from eventstore.appending import Batch
from eventstore.codec import UnknownEvent, encode
from eventstore.reader import Reader
from eventstore.store import EventStore

LIFE = 10  # events of each agent
PEER = "eventsourcing, replay (nothing to verify)"
SAME_FIELDS = "eventsourcing, replay of the same fields, as a dict"


def make_log(url: str, count: int) -> None:
    """A log of `count` events, made by the store."""
    with EventStore.open(url, home="bench", host="here") as store:
        for _ in range(0, count, BATCH * LIFE):
            streams = [os.urandom(8).hex() for _ in range(BATCH)]
            store.append_many(
                [
                    Batch(
                        stream=f"agent/{stream}",
                        events=[new_event(stream) for _ in range(LIFE)],
                        expected_version=0,
                    )
                    for stream in streams
                ],
                epoch=None,
            )


def measure(
    url: str, rounds: int, peer: Callable[[], Iterable[tuple[str, float]]]
) -> tuple[int, dict[str, list[float]]]:
    """How many events there are; events a second of each way, in turns with those of `peer`."""
    reader = Reader.open(url)
    count = reader.head().position
    rates: dict[str, list[float]] = {}

    def read() -> bool:
        return sum(1 for _ in reader.events()) == count

    def replay() -> bool:
        return sum(not isinstance(row.event, UnknownEvent) for row in reader.events()) == count

    ways: dict[str, Callable[[], bool]] = {
        f"outlive, verify in {len(os.sched_getaffinity(0))} processes": lambda: (
            segments.verify(url).is_intact
        ),
        "outlive, verify in 1 process": lambda: segments.verify(url, processes=1).is_intact,
        "outlive, rows read": read,
        "outlive, replay into typed events": replay,
    }
    for _ in range(rounds):
        for name, way in ways.items():
            began_at = time.perf_counter()
            assert way(), name
            rates.setdefault(name, []).append(count / (time.perf_counter() - began_at))
        for name, rate in peer():
            rates.setdefault(name, []).append(rate)
    reader.close()
    return count, rates


def peer(count: int) -> Iterator[tuple[str, float]]:
    """Events a second of the eventsourcing package's replay, by body; nothing where it is not installed."""
    fields = json.loads(encode(new_event("0" * 16).event)[2])
    with contextlib.suppress(ImportError):
        from benchmarks import eventsourcing_peer

        for name, body in ((PEER, BODY), (SAME_FIELDS, fields)):
            with fresh_folder() as folder:
                yield name, eventsourcing_peer.replay_rate(folder, body, count, BATCH)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--peer-count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", type=Path, help="use this database instead of making one")
    given = parser.parse_args(arguments)
    with fresh_folder() as folder:
        path = given.log or folder / "events.db"
        if given.log is None:
            make_log(f"sqlite:///{path}", given.count)
        count, rates = measure(f"sqlite:///{path}", given.rounds, partial(peer, given.peer_count))
    floor = median(rates[PEER]) if PEER in rates else None
    rows = [
        (name, spread(values, "{:,.0f}".format), times(floor and median(values) / floor))
        for name, values in rates.items()
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    left_out = [] if floor else ["eventsourcing left out: it is not installed (`pip install eventsourcing`)"]
    print(
        Section(
            title="Verifying a log, SQLite",
            how=f"Events a second over a log of {count:,} events of about {len(BODY)} bytes: every hash computed anew, "
            "every version and time compared. The eventsourcing package keeps no hashes; its replay reads and decodes "
            "one text, or the fields of our events, without looking at their types.",
            headings=("what", "events a second", "to its replay"),
            rows=rows,
            notes=(
                f"runs of each in turn: {given.rounds}; database on {description()}; at most {peak} MB",
                *left_out,
            ),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
