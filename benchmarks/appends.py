"""`python -m benchmarks.appends`: durable appends to the log, beside bare sqlite3 and the eventsourcing package."""

import argparse
import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.filesystem import description, fresh_folder
from benchmarks.report import Section, spread, times
from eventstore.appending import Batch
from eventstore.events import AgentSpawning
from eventstore.record import NewEvent
from eventstore.store import EventStore, now_microseconds
from manager.spec import AgentSpec
from projections.agents import AgentsProjection

BATCH = 100
THREADS = 16
BARE, PEER = "sqlite3, one table, nothing checked", "eventsourcing, Application.save"
BODY = "x" * 560  # as long as the JSON of the events that the log gets here
SPEC = AgentSpec(command=("sleep", "1000")).recorded()


def new_event(name: str) -> NewEvent:
    """A SPAWNING event, the largest that an agent's life has."""
    event = AgentSpawning(
        attempt=1,
        name=name,
        spec=SPEC,
        spec_digest="0" * 64,
        directory="agents/x/1",
        boot_id=str(uuid.UUID(int=0)),
    )
    return NewEvent(
        event=event,
        event_id=str(uuid.uuid4()),
        occurred_at=now_microseconds(),
        actor="bench",
        correlation_id="bench",
    )


def new_batch() -> Batch:
    """One event in a stream of its own."""
    agent = os.urandom(8).hex()
    return Batch(stream=f"agent/{agent}", events=[new_event(agent)], expected_version=0)


@contextlib.contextmanager
def opened(*, with_rows: bool) -> Iterator[EventStore]:
    """A log on a fresh file system, with or without the rows of the current agents kept in the same transaction."""
    inline = [AgentsProjection()] if with_rows else []
    with (
        fresh_folder() as folder,
        EventStore.open(f"sqlite:///{folder}/events.db", home="bench", host="here", inline=inline) as store,
    ):
        yield store


def single(store: EventStore, count: int) -> float:
    """Events a second, each in a commit of its own."""
    batches = [new_batch() for _ in range(count)]
    return _rate(count, lambda: [store.append_many([batch], epoch=None) for batch in batches])


def batched(store: EventStore, count: int) -> float:
    """Events a second, a hundred in each commit."""
    batches = [new_batch() for _ in range(count)]
    pieces = [batches[start : start + BATCH] for start in range(0, count, BATCH)]
    return _rate(count, lambda: [store.append_many(piece, epoch=None) for piece in pieces])


def threaded(store: EventStore, count: int) -> float:
    """Events a second from 16 threads, each waiting for its own one at a time."""
    batches = [new_batch() for _ in range(count)]

    def work(number: int) -> None:
        for batch in batches[number::THREADS]:
            store.append_many([batch], epoch=None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]

    def together() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return _rate(count, together)


def bare(folder: Path, count: int, size: int) -> float:
    """Events a second into one table by sqlite3 alone: WAL, synchronous=FULL, one indexed id."""
    with contextlib.closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, id TEXT UNIQUE, data TEXT)")
        rows = [(str(uuid.uuid4()), BODY) for _ in range(count)]

        def work() -> None:
            for start in range(0, count, size):
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT INTO events (id, data) VALUES (?, ?)", rows[start : start + size])
                db.execute("COMMIT")

        return _rate(count, work)


def eventsourcing(folder: Path, count: int, size: int, threads: int = 1) -> float:
    """Events a second by that package, one new aggregate each. Raises ImportError."""
    from benchmarks import eventsourcing_peer

    return eventsourcing_peer.rate(folder, BODY, count, size, threads)


def _rate(count: int, work: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    work()
    return count / (time.perf_counter() - began_at)


def measure(count: int, rounds: int) -> tuple[dict[tuple[str, str], list[float]], str | None]:
    """Rates by (what, kind of append), in turns; why eventsourcing was left out, if it was."""
    rates: dict[tuple[str, str], list[float]] = {}
    ways = {"1 a commit": single, f"{BATCH} a commit": batched, f"{THREADS} threads, 1 each": threaded}
    left_out = None
    for _ in range(rounds):
        for way, work in ways.items():
            for name, with_rows in (("outlive, log and agents' rows", True), ("outlive, log alone", False)):
                with opened(with_rows=with_rows) as store:
                    work(store, BATCH)  # the first appends also prepare statements
                    rates.setdefault((name, way), []).append(work(store, count))
        for way, size, threads in zip(ways, (1, BATCH, 1), (1, 1, THREADS), strict=True):
            if threads == 1:
                with fresh_folder() as folder:
                    rates.setdefault((BARE, way), []).append(bare(folder, count, size))
            try:
                with fresh_folder() as folder:
                    rate = eventsourcing(folder, count, size, threads)
                rates.setdefault((PEER, way), []).append(rate)
            except ImportError:
                left_out = "eventsourcing left out: it is not installed (`pip install eventsourcing`)"
    return rates, left_out


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    rates, left_out = measure(given.count, given.rounds)
    rows = [
        (
            name,
            way,
            spread(values, "{:,.0f}".format),
            *(
                times(median(values) / median(rates[floor, way]) if (floor, way) in rates else None)
                for floor in (BARE, PEER)
            ),
        )
        for (name, way), values in sorted(rates.items(), key=lambda item: item[0][1])
    ]
    print(
        Section(
            title="Durable appends, SQLite",
            how=f"Events a second, {given.count:,} events of about {len(BODY)} bytes, synchronous=FULL: what is "
            "acknowledged is on disk. outlive checks ids and versions, chains hashes, and keeps the agents' rows.",
            headings=("store", "appends", "events a second", "to sqlite3", "to eventsourcing"),
            rows=rows,
            notes=(
                f"runs of each in turn: {given.rounds}; database on {description()}",
                *([left_out] if left_out else []),
            ),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
