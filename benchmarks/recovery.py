"""`python -m benchmarks.recovery`: how soon a new coordinator has re-attached to what a killed one left running."""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.filesystem import description, fresh_folder
from benchmarks.longlog import long_home
from benchmarks.outlive_peer import SPEC
from benchmarks.processes import Stuck
from benchmarks.report import Section, milliseconds, spread, times
from manager.manager import Manager


def coordinate(home: str, count: int) -> None:
    """A coordinator: opens the home, starts what is missing of `count` agents, tells how the opening went, lives on."""
    began_at = time.monotonic()
    with Manager.open(home, f"sqlite:///{home}/events.db") as manager:
        seconds = time.monotonic() - began_at
        report = manager.recovery
        if report is None:
            raise Stuck("cannot measure: there is no recovery report; look at Manager.open")
        if report.reattached == 0:
            manager.spawn_many([(f"sleeper{number:05}", SPEC) for number in range(count)])
        print(seconds, report.reattached, report.lost + report.never_started, flush=True)
        signal.pause()


@contextlib.contextmanager
def survivors(home: Path, count: int) -> Iterator[Callable[[], float]]:
    """`count` agents whose coordinator was killed; they end with the block.

    Each call makes a new coordinator and kills it, too: the seconds that its `Manager.open` took.
    """

    def reopen() -> float:
        seconds, reattached, wrong = _open_and_kill(home, count)
        if (reattached, wrong) != (count, 0):
            raise Stuck(
                f"cannot measure: {reattached} of {count} re-attached, {wrong} otherwise; see its log"
            )
        return seconds

    try:
        _open_and_kill(home, count)
        yield reopen
    finally:
        with Manager.open(home, f"sqlite:///{home}/events.db") as manager:
            manager.kill_all()


def measure(count: int, rounds: int, log_events: int = 0) -> list[float]:
    """The seconds of so many recoveries; `log_events`: of agents that had ended before those `count` were started."""
    with fresh_folder() as folder:
        home = folder / "home"
        if log_events:
            long_home(home, log_events)
        with survivors(home, count) as reopen:
            return [reopen() for _ in range(rounds)]


def _open_and_kill(home: Path, count: int) -> tuple[float, int, int]:
    command = [sys.executable, "-m", "benchmarks.recovery", "--coordinate", str(home), "--counts", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        try:
            assert coordinator.stdout is not None
            words = coordinator.stdout.readline().split()
        finally:
            coordinator.kill()
    if len(words) != 3:
        raise Stuck("cannot measure: the coordinator ended early; see its message above")
    return float(words[0]), int(words[1]), int(words[2])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--log-events", type=int, default=1_000_000, help="the last count also after so many; 0: not"
    )
    parser.add_argument("--coordinate", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.coordinate:
        coordinate(given.coordinate, given.counts[0])
        return
    rows, took = [], [0.0]
    for count in given.counts:
        took = measure(count, given.rounds)
        rows.append((str(count), "its own", spread(took, milliseconds), times(1.0)))
    if given.log_events:
        last = given.counts[-1]
        longer = measure(last, given.rounds, given.log_events)
        told = f"{given.log_events:,} and its own"
        rows.append((str(last), told, spread(longer, milliseconds), times(median(longer) / median(took))))
    print(
        Section(
            title="Recovery after SIGKILL of the coordinator",
            how="Time of `Manager.open` in a new process, imports not counted: take the lock, replay the log, prove "
            "each identity, record each re-attachment durably, hold all descriptors.",
            headings=("agents alive", "events in the log", "until all are re-attached", "to the short log"),
            rows=rows,
            notes=(f"kills of each: {given.rounds}", f"home: {description()}"),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
