"""`python -m benchmarks.stubborn`: stop N processes that ignore SIGTERM and SIGINT, with 2 seconds of grace."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.circus_peer import CircusPeer
from benchmarks.harness import Peer, in_turns
from benchmarks.outlive_peer import TREE_SECONDS, OutlivePeer
from benchmarks.processes import STUBBORN
from benchmarks.report import Section, in_seconds, spread, times
from benchmarks.s6_peer import S6Peer
from benchmarks.supervisor_peer import SupervisorPeer

BASELINE = "supervisor"


def peers(grace_seconds: int) -> list[Callable[[], Peer]]:
    """All that can be told how long to wait before SIGKILL. Whole seconds: supervisor knows no others."""
    return [
        partial(make, STUBBORN, grace_seconds) for make in (OutlivePeer, SupervisorPeer, S6Peer, CircusPeer)
    ]


def measure(count: int, rounds: int, grace_seconds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of each stop by peer, in turns; why others were left out."""

    def stop(peer: Peer) -> float:
        peer.start(count)
        return peer.stop_all()

    return in_turns(peers(grace_seconds), rounds, stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grace", type=int, default=2, help="seconds until SIGKILL")
    given = parser.parse_args(arguments)
    took, skipped = measure(given.count, given.rounds, given.grace)
    first = given.grace - TREE_SECONDS
    floor = median(took[BASELINE]) if BASELINE in took else None
    print(
        Section(
            title=f"Stopping {given.count} stubborn processes",
            how=f"They ignore SIGTERM and SIGINT and get {given.grace} s before SIGKILL: from the order to stop until "
            "none is left (outlive: until each whole tree is empty and its end is in the log, durably).",
            headings=("manager", "stop all", "to supervisor"),
            rows=[
                (name, spread(values, in_seconds), times(floor and median(values) / floor))
                for name, values in took.items()
            ],
            notes=(
                f"runs of each in turn: {given.rounds}",
                f"outlive: grace {first:g},{TREE_SECONDS:g},5: SIGTERM to the tree after {first:g} s, then SIGKILL",
                "supervisor: stopwaitsecs; s6: timeout-kill; circus: graceful_timeout",
                *(f"{peer} left out: {why}" for peer, why in skipped.items()),
            ),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
