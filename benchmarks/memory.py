"""`python -m benchmarks.memory`: what an agent costs in memory beside itself: its shim, its share of the rest."""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from benchmarks.outlive_peer import OutlivePeer
from benchmarks.processes import pss_bytes
from benchmarks.report import Section, kilobytes, spread


def measure(count: int) -> dict[str, float]:
    """Proportional set sizes in bytes, of each part of one run."""
    peer = OutlivePeer()
    try:
        peer.open()
        before = pss_bytes([os.getpid()])
        peer.start(count)
        grown = pss_bytes([os.getpid()]) - before
        sleepers = [process.pid for process in peer.family if process.name() == "sleep"]
        others = [process.pid for process in peer.family if process.name() != "sleep"]
        launcher, shims = others[-1], others[:-1]
        return {
            "coordinator, growth for each agent": grown / count,
            "shim": pss_bytes(shims) / count,
            "launcher, shared by all": pss_bytes([launcher]),
            "together, for each agent": (grown + pss_bytes(others)) / count,
            "the agent itself (sleep), not counted above": pss_bytes(sleepers) / count,
        }
    finally:
        peer.close()


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # A process each: a heap that has grown before would hide the coordinator's growth.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh:
        found = {
            count: [fresh.submit(measure, count).result() for _ in range(arguments.rounds)]
            for count in arguments.counts
        }
    parts = list(next(iter(found.values()))[0])
    print(
        Section(
            title="Memory",
            how="Proportional set size: a page that k processes share counts 1/k for each of them.",
            headings=("", *(f"{count} agents" for count in found)),
            rows=[
                (part, *(spread([run[part] for run in runs], kilobytes) for runs in found.values()))
                for part in parts
            ],
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
