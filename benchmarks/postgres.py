"""`python -m benchmarks.postgres`: appends to a log in PostgreSQL and its replay, beside eventsourcing there."""

import argparse
import contextlib
import importlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks.appends import BODY, THREADS, new_batch
from benchmarks.report import Section, ratio, spread
from eventstore.store import EventStore
from projections.agents import AgentsProjection
from tests.support.cluster import PORT, Cluster, running_cluster

PROCESSES = 8
WARM = 50
OURS, BARE, PEER = "outlive, log and agents' rows", "outlive, log alone", "eventsourcing, Application.save"
Append = Callable[[], object]


@contextlib.contextmanager
def ours(url: str, *, with_rows: bool) -> Iterator[tuple[Callable[[], Append], Callable[[], int]]]:
    """Makes appends of one event each; replays them all, decoded, and counts."""
    inline = [AgentsProjection()] if with_rows else []
    with EventStore.open(url, home="bench", host="here", inline=inline) as store:

        def make() -> Append:
            batches = [new_batch()]
            return lambda: store.append_many(batches, epoch=None)

        yield make, lambda: sum(row.event is not None for row in store.read())  # none is kept, as below


@contextlib.contextmanager
def peer(url: str, *, with_rows: bool = False) -> Iterator[tuple[Callable[[], Append], Callable[[], int]]]:
    """The same by eventsourcing; `with_rows` means nothing there. Raises ImportError without it."""
    assert not with_rows
    importlib.import_module("psycopg_pool")
    from benchmarks import eventsourcing_peer

    before, _, host = url.partition("?host=")
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": before.rpartition("/")[2],
        "POSTGRES_HOST": host.partition("&")[0],
        "POSTGRES_PORT": str(PORT),
        "POSTGRES_USER": "owner",
        "POSTGRES_PASSWORD": "none",
    }
    application: Any = importlib.import_module("eventsourcing.application")
    with contextlib.closing(application.Application(env=environment)) as app:

        def make() -> Append:
            agent = eventsourcing_peer.Agent(body=BODY)
            return lambda: app.save(agent)

        def replay() -> int:
            seen = 0
            while page := app.recorder.select_notifications(seen + 1, limit=500):
                for notification in page:
                    app.mapper.to_domain_event(notification)
                seen += len(page)
            return seen

        yield make, replay


STORES: dict[str, tuple[Any, bool]] = {OURS: (ours, True), BARE: (ours, False), PEER: (peer, False)}


def run(appends: list[Append], threads: int) -> float:
    """Seconds for all of them, from so many threads."""
    workers = [
        threading.Thread(target=lambda some: [append() for append in some], args=(appends[number::threads],))
        for number in range(threads)
    ]
    began_at = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began_at


def in_process(name: str, url: str, count: int, barrier: Any, turn: Any) -> None:
    """One of several processes: ready at the first barrier, done at the second.

    They open the store one after another: several of eventsourcing die of each other ("tuple concurrently updated").
    """
    open_, with_rows = STORES[name]
    with contextlib.ExitStack() as stack:
        with turn:
            make, _ = stack.enter_context(open_(url, with_rows=with_rows))
        appends = [make() for _ in range(count)]
        make()()
        barrier.wait(120)
        for append in appends:
            append()
        barrier.wait(600)


def together(name: str, url: str, count: int) -> float:
    """Events a second of several processes at once."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(PROCESSES + 1)
    arguments = (name, url, count // PROCESSES, barrier, spawn.Lock())
    workers = [spawn.Process(target=in_process, args=arguments) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    barrier.wait(120)
    began_at = time.perf_counter()
    barrier.wait(600)
    seconds = time.perf_counter() - began_at
    for worker in workers:
        worker.join()
    return count // PROCESSES * PROCESSES / seconds


def measure(cluster: Cluster, name: str, count: int) -> Iterator[tuple[str, float]]:
    """Each way of appending, and the replay, on a database of its own."""
    open_, with_rows = STORES[name]
    url = cluster.new_database()
    with open_(url, with_rows=with_rows) as (make, replay):
        for append in [make() for _ in range(WARM)]:
            append()
        yield "1 thread", count / run([make() for _ in range(count)], 1)
        yield f"{THREADS} threads", count / run([make() for _ in range(count)], THREADS)
        began_at = time.perf_counter()
        seen = replay()
        yield "replay, decoded", seen / (time.perf_counter() - began_at)
    yield f"{PROCESSES} processes", together(name, url, count)
    cluster.drop(url)


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[tuple[str, str], list[float]] = {}
    left_out: list[str] = []
    with running_cluster(is_durable=True) as cluster:
        for _ in range(arguments.rounds):
            for name in STORES:
                try:
                    for way, rate in measure(cluster, name, arguments.count):
                        rates.setdefault((way, name), []).append(rate)
                except ImportError as error:
                    left_out = [f"{name} left out: {error} (`pip install 'eventsourcing[postgres]'`)"]
    rows = [
        (
            way,
            name,
            spread(values, "{:,.0f}".format),
            ratio(median(values), median(rates[way, PEER])) if (way, PEER) in rates else "-",
        )
        for (way, name), values in sorted(rates.items())
    ]
    print(
        Section(
            title="Durable appends and replay, PostgreSQL",
            how=f"Events a second, {arguments.count:,} events of about {len(BODY)} bytes, each in an append of its "
            "own, on one server on the same machine over its socket, fsync and synchronous_commit on. outlive checks "
            "ids and versions and chains hashes; threads of one process share a commit.",
            headings=("how", "store", "events a second", "to eventsourcing"),
            rows=rows,
            notes=(f"runs of each in turn: {arguments.rounds}", *left_out),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
