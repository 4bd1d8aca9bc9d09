"""`python -m benchmarks.sweep`: the status of every agent, beside psutil over the same processes."""

import argparse
import time
from collections.abc import Callable

import psutil

from benchmarks.outlive_peer import OutlivePeer
from benchmarks.report import Section, microseconds, ratio, spread


class _Cost:
    """Wall and CPU seconds for each agent, of every call."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def of(self, call: Callable[[], object], count: int) -> None:
        before, cpu_before = time.perf_counter(), time.process_time()
        call()
        self.cpu.append((time.process_time() - cpu_before) / count)
        self.wall.append((time.perf_counter() - before) / count)


def measure(count: int, rounds: int) -> dict[str, _Cost]:
    """The costs of each way of looking. The first look, which has nothing to compare CPU times with, is not counted."""
    peer = OutlivePeer()
    try:
        peer.open()
        peer.start(count)
        assert peer.manager is not None
        manager = peer.manager
        pids = [status.pid for status in manager.statuses() if status.pid]
        kept = [psutil.Process(pid) for pid in pids]
        ways: dict[str, Callable[[], object]] = {
            "outlive: statuses(), whole trees, with the log's rows": manager.statuses,
            "psutil, objects kept, oneshot": lambda: [_oneshot(process) for process in kept],
            "psutil, objects made anew, oneshot": lambda: [_oneshot(psutil.Process(pid)) for pid in pids],
        }
        costs = {way: _Cost() for way in ways}
        for _ in range(rounds):
            for way, call in ways.items():
                time.sleep(0.2)  # outlive compares readings at least 0.1 s apart, and would wait for that
                costs[way].of(call, count)
        return costs
    finally:
        peer.close()


def _oneshot(process: psutil.Process) -> tuple[object, ...]:
    with process.oneshot():
        return (
            process.status(),
            process.cpu_percent(),
            process.memory_info().rss,
            process.num_threads(),
            process.ppid(),
        )


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    rows = []
    for count in arguments.counts:
        costs = measure(count, arguments.rounds)
        first = min(next(iter(costs.values())).cpu)
        for way, cost in costs.items():
            times = spread(cost.wall, microseconds), spread(cost.cpu, microseconds)
            rows.append((str(count), way, *times, ratio(min(cost.cpu), first)))
    print(
        Section(
            title="Looking at all agents",
            how="Status, CPU, memory, threads and parent of each main process, once more after a first look; for each "
            "agent. outlive adds up the tree of each agent and reads its row of the log besides.",
            headings=("agents", "way", "wall each", "CPU each", "least CPU to outlive's"),
            rows=rows,
            notes=(
                f"looks of each kind: {arguments.rounds}",
                f"other processes on the machine, which outlive's look reads too: {len(psutil.pids())}",
            ),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
