"""`python -m benchmarks.recovery`: how soon a new coordinator has re-attached to what a killed one left running."""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.filesystem import description, fresh_folder
from benchmarks.outlive_peer import SPEC
from benchmarks.processes import Stuck
from benchmarks.report import Section, milliseconds, spread
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


def measure(count: int, rounds: int) -> list[float]:
    """Seconds that `Manager.open` took in each new coordinator after the SIGKILL of the one before."""
    took: list[float] = []
    with fresh_folder() as folder:
        home = folder / "home"
        try:
            for number in range(rounds + 1):
                seconds, reattached, wrong = _open_and_kill(home, count)
                if number and (reattached, wrong) != (count, 0):
                    raise Stuck(
                        f"cannot measure: {reattached} of {count} re-attached, {wrong} otherwise; see its log"
                    )
                took += [seconds] if number else []
        finally:
            _end_all(home)
    return took


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


def _end_all(home: Path) -> None:
    with Manager.open(home, f"sqlite:///{home}/events.db") as manager:
        manager.kill_all()


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--coordinate", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.coordinate:
        coordinate(arguments.coordinate, arguments.counts[0])
        return
    print(
        Section(
            title="Recovery after SIGKILL of the coordinator",
            how="Time of `Manager.open` in a new process, imports not counted: take the lock, replay the log, prove "
            "each identity, record each re-attachment durably, hold all descriptors.",
            headings=("agents alive", "until all are re-attached"),
            rows=[
                (str(count), spread(measure(count, arguments.rounds), milliseconds))
                for count in arguments.counts
            ],
            notes=(f"kills of each: {arguments.rounds}", f"home: {description()}"),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
