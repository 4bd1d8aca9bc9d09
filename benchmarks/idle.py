"""`python -m benchmarks.idle`: what a manager takes of a core while N processes sleep and nothing is asked of it."""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.circus_peer import CircusPeer
from benchmarks.harness import Peer, in_turns
from benchmarks.outlive_peer import OutlivePeer
from benchmarks.processes import cpu_seconds
from benchmarks.report import Section, spread, times
from benchmarks.s6_peer import S6Peer
from benchmarks.supervisor_peer import SupervisorPeer

PEERS: tuple[Callable[[], Peer], ...] = (OutlivePeer, SupervisorPeer, S6Peer, CircusPeer)
BASELINE = "supervisor"
SECONDS = 70.0  # outlive looks at 1,000 agents every 30 s or so: two looks, not one by chance
REST_SECONDS = 20.0  # what a start leaves to do, such as taking events into reports, is over by then


def measure(
    count: int, rounds: int, seconds: float, rest_seconds: float
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Shares of one core (0.01 is 1 %) by peer, in turns; why others were left out."""

    def share(peer: Peer) -> float:
        peer.start(count)
        time.sleep(rest_seconds)
        pids = peer.pids()
        before, began_at = cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - began_at
        # A launcher leaves when it has been idle for a minute: what it takes until then is not known, and little.
        after = cpu_seconds(pids)
        return sum(used - before[pid] for pid, used in after.items()) / elapsed

    return in_turns(PEERS, rounds, share)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--rest", type=float, default=REST_SECONDS, help="seconds after the start, not counted"
    )
    given = parser.parse_args(arguments)
    shares, skipped = measure(given.count, given.rounds, given.seconds, given.rest)
    floor = median(shares[BASELINE]) if BASELINE in shares else None
    print(
        Section(
            title=f"Idle with {given.count} sleepers",
            how=f"CPU time over {given.seconds:g} s of all of the manager's own processes, as the scheduler counts it, "
            "in percent of one core. Each watches as it does by default: outlive samples its agents' trees, circus "
            "looks for dead children once a second, supervisor wakes each second, s6 sleeps.",
            headings=("manager", "of one core", "to supervisor"),
            rows=[
                (name, spread(values, "{:.3%}".format), times(floor and median(values) / floor))
                for name, values in shares.items()
            ],
            notes=(
                f"runs of each in turn: {given.rounds}; counted from {given.rest:g} s after the start on",
                *(f"{peer} left out: {why}" for peer, why in skipped.items()),
            ),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
