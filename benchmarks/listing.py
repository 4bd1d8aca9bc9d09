"""`python -m benchmarks.listing`: the listing as a command with a cold start, beside supervisorctl's."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.outlive_peer import OutlivePeer
from benchmarks.report import Section, milliseconds, ratio, spread
from benchmarks.supervisor_peer import SupervisorPeer


def outlive(count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of `outlive ps`."""
    peer = OutlivePeer()
    try:
        peer.open()
        peer.start(count)
        return measure(ps(peer.home), count, rounds)
    finally:
        peer.close()


def supervisor(count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of `supervisorctl status`; the daemon's own CPU is not in the latter."""
    peer = SupervisorPeer()
    try:
        peer.open()
        peer.start(count)
        return measure(peer.status_command(), count, rounds)
    finally:
        peer.close()


def ps(home: Path) -> list[str]:
    """The command line of `outlive ps`."""
    return [sys.executable, "-m", "manager.cli.start", "--home", str(home), "ps"]


def measure(command: Sequence[str], count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each call, which must list so many as RUNNING."""
    wall, cpu = [], []
    for number in range(rounds + 1):
        before, used_before = time.perf_counter(), _used_by_children()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        took, used = time.perf_counter() - before, _used_by_children() - used_before
        lines = sum(b"RUNNING" in line for line in done.stdout.splitlines())
        assert lines == count, f"{lines} of {count} are listed as running"
        if number:  # the first fills the page cache
            wall.append(took)
            cpu.append(used)
    return wall, cpu


def _used_by_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[10, 1000])
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    rows, notes = [], []
    reason = SupervisorPeer().unavailable()
    if reason:
        notes.append(f"supervisor left out: {reason}")
    for count in arguments.counts:
        ours = outlive(count, arguments.rounds)
        found = [("outlive ps", ours)]
        if not reason:
            found.append(("supervisorctl status", supervisor(count, arguments.rounds)))
        for name, (wall, cpu) in found:
            best = ratio(min(wall), min(ours[0]))
            rows.append((str(count), name, spread(wall, milliseconds), spread(cpu, milliseconds), best))
    print(
        Section(
            title="Listing, as a command",
            how="From the start of the interpreter to the end of the command, output into a pipe. outlive reads the "
            "log and looks at each tree twice, 0.1 s apart, for its CPU; supervisorctl asks its daemon for states.",
            headings=("processes", "command", "wall", "CPU of the command", "least wall to outlive's"),
            rows=rows,
            notes=(f"calls of each: {arguments.rounds}", *notes),
        ).as_markdown()
    )


if __name__ == "__main__":
    main()
