"""`python -m benchmarks.exits`: from an agent's last act to its end being durable and seen by another program."""

import argparse
import contextlib
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.outlive_peer import OutlivePeer
from benchmarks.processes import Stuck
from benchmarks.report import Section, milliseconds, percentile
from eventstore.reader import Reader
from manager.manager import Manager
from manager.spec import AgentSpec
from manager.view import View

BATCH = 50  # agents that wait for their moment at the same time
APART_SECONDS = 0.03
WARM_SECONDS = 4.0  # for a batch to be started before the first of them ends
POLL_SECONDS = 0.0002
PATIENCE_SECONDS = 120.0
# The last act: one write of the monotonic clock, which all processes share, and _exit.
PROGRAM = "import os, sys, time; time.sleep(max(0, float(sys.argv[1]) - time.monotonic()))\n"
PROGRAM += "os.write(1, b'%d' % time.monotonic_ns()); os._exit(0)"


def watch(url: str, count: int, answer: Connection) -> None:
    """The other program: polls the log, and tells when it first saw each ZOMBIE_REAPED (stream: monotonic ns)."""
    seen: dict[str, int] = {}
    with contextlib.closing(Reader.open(url)) as reader:
        after = reader.head().position
        answer.send(after)
        deadline_at = time.monotonic() + PATIENCE_SECONDS
        while len(seen) < count and time.monotonic() < deadline_at:
            for event in reader.events(after=after):
                if event.type == "ZOMBIE_REAPED":
                    seen[event.stream] = time.monotonic_ns()
                after = event.position
            time.sleep(POLL_SECONDS)
    answer.send(seen)


def measure(exits: int, others: int) -> list[float]:
    """Seconds for each exit, with `others` sleeping agents alive beside them."""
    peer = OutlivePeer()
    try:
        peer.open()
        peer.start(others)
        assert peer.manager is not None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        url = f"sqlite:///{peer.home}/events.db"
        watcher = context.Process(target=watch, args=(url, exits, theirs), daemon=True)
        watcher.start()
        ours.recv()
        for number in range(0, exits, BATCH):
            _run_batch(peer.manager, number, min(BATCH, exits - number))
        if not ours.poll(PATIENCE_SECONDS):
            raise Stuck("cannot measure: the watching program saw too few ends; look at the log")
        seen: dict[str, int] = ours.recv()
        watcher.join()
        last_acts = _last_acts(peer.home)
        return [(at - last_acts[stream]) / 1e9 for stream, at in seen.items()]
    finally:
        peer.close()


def _run_batch(manager: Manager, first: int, count: int) -> None:
    due_at = time.monotonic() + WARM_SECONDS
    items = []
    for number in range(count):
        moment = str(due_at + number * APART_SECONDS)
        command = (sys.executable, "-I", "-S", "-c", PROGRAM, moment)
        items.append((f"exits{first + number}", AgentSpec(command=command)))
    manager.wait_many(manager.spawn_many(items), timeout=PATIENCE_SECONDS)


def _last_acts(home: Path) -> dict[str, int]:
    with contextlib.closing(View.open(home)) as view:
        ended = [status for status in view.agents(all=True, vitals=False) if status.is_final]
        return {
            f"agent/{status.id}": int(view.log_path(status, stream="stdout").read_text()) for status in ended
        }


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exits", type=int, default=300)
    parser.add_argument("--others", type=int, default=100)
    arguments = parser.parse_args()
    took = measure(arguments.exits, arguments.others)
    marks = [milliseconds(percentile(took, percent)) for percent in (50, 95, 99)]
    print(
        Section(
            title="An end becomes known",
            how="From the agent's own clock reading right before `_exit` to another process reading the durable "
            "ZOMBIE_REAPED event (it polls every 0.2 ms): shim, exit record and its fsync, sweep, coordinator, commit.",
            headings=("exits", "other agents alive", "median", "95 %", "99 %", "longest"),
            rows=[(str(len(took)), str(arguments.others), *marks, milliseconds(max(took)))],
            notes=(f"one exit every {APART_SECONDS * 1e3:.0f} ms",),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
