"""`python -m benchmarks.short`: short runs a second, each with its exit code, beside supervisor, s6 and posix_spawn."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Protocol

from benchmarks.filesystem import description
from benchmarks.harness import Peer, in_turns
from benchmarks.outlive_peer import OutliveOnTmpfs, OutlivePeer
from benchmarks.popen_peer import PopenPeer
from benchmarks.report import Section, spread, times
from benchmarks.s6_peer import S6Peer
from benchmarks.supervisor_peer import SupervisorPeer

PROGRAM = ("/bin/true",)
BASELINE = "supervisor"


class Runner(Peer, Protocol):
    """A peer that can run a program to its end."""

    def run_all(self, count: int) -> float:
        """Run the command so many times; seconds until the manager knows each exit code, 0."""


PEERS: tuple[Callable[[], Runner], ...] = (
    partial(OutlivePeer, PROGRAM),
    partial(OutliveOnTmpfs, PROGRAM),
    partial(SupervisorPeer, PROGRAM),
    partial(S6Peer, PROGRAM),
    partial(PopenPeer, PROGRAM),
)


def measure(count: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Runs a second by peer, in turns; why others were left out."""
    return in_turns(PEERS, rounds, lambda peer: count / peer.run_all(count))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    rates, skipped = measure(given.count, given.rounds)
    floor = median(rates[BASELINE]) if BASELINE in rates else None
    print(
        Section(
            title="Short runs",
            how=f"`{PROGRAM[0]}` {given.count} times: runs a second, from the order to the manager knowing each exit "
            "code. outlive is ordered 100 at a time and has each code in its log, durably; supervisor keeps them in "
            "memory, s6 in a file on a tmpfs; posix_spawn starts and waits, one after the other.",
            headings=("manager", "runs a second", "to supervisor"),
            rows=[
                (name, spread(values, "{:,.0f}".format), times(floor and median(values) / floor))
                for name, values in rates.items()
            ],
            notes=(
                f"runs of each in turn: {given.rounds}",
                f"outlive's home: {description()}; outlive-tmpfs has its home on a tmpfs, where nothing is durable",
                "supervisor: startsecs=0, autorestart=false; s6: described before, started by a scan, `finish` 125",
                *(f"{peer} left out: {why}" for peer, why in skipped.items()),
            ),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
