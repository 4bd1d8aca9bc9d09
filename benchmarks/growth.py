"""`python -m benchmarks.growth`: what a start costs as agents grow, what recovery and `ps` cost as the log grows."""

import argparse
import contextlib
import resource
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psutil

from benchmarks import listing
from benchmarks.curves import curves
from benchmarks.filesystem import description, fresh_folder
from benchmarks.longlog import long_home
from benchmarks.outlive_peer import OutlivePeer
from benchmarks.recovery import survivors
from benchmarks.report import Section, in_seconds, milliseconds, spread, times

COUNTS = (10, 100, 1000, 3000, 10_000)
LENGTHS = (1000, 10_000, 100_000, 1_000_000)
AGENT_BYTES = 1_500_000  # with its shim, and room
DESCRIPTORS = 2  # of an agent, in its coordinator, which has some more of its own
PLACE = Path(__file__).parent


def no_room_for(count: int) -> str | None:
    """Why the machine cannot bear so many agents, or None."""
    if psutil.virtual_memory().available < count * AGENT_BYTES:
        return f"{count * AGENT_BYTES / 2**30:.0f} GiB of memory are not free"
    most = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    if most - len(psutil.pids()) < 2 * count + 1000:
        return f"the kernel has {most} pids"
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors < DESCRIPTORS * count + 100:
        return f"a process may hold {descriptors} descriptors"
    return None


def allow_descriptors(count: int) -> None:
    """Let this process hold those of so many agents, where it has the right to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = DESCRIPTORS * count + 1000
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(needed, hard)), hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), max(hard, needed)))


def start(count: int) -> float:
    """Seconds for each of so many agents, until all are RUNNING in the log and were seen executing."""
    peer = OutlivePeer()
    try:
        peer.open()
        return peer.start(count) / count
    finally:
        peer.close()


def by_agents(most: int, rounds: int) -> tuple[dict[int, list[float]], list[str]]:
    """Seconds for each agent by how many were started at once, in turns; what was left out, and why."""
    wanted = [count for count in COUNTS if count <= most]
    refused = {count: reason for count in wanted if (reason := no_room_for(count))}
    able = [count for count in wanted if count not in refused]
    took: dict[int, list[float]] = {count: [] for count in able}
    for _ in range(rounds):
        for count in able:
            took[count].append(start(count))
    return took, [f"{count:,} agents left out: {reason}" for count, reason in refused.items()]


def by_log(most: int, agents: int, rounds: int) -> dict[int, tuple[list[float], list[float]]]:
    """Seconds of recoveries and of `outlive ps` by the events in the log."""
    took = {}
    for length in [length for length in LENGTHS if length <= most]:
        with fresh_folder() as folder:
            home = folder / "home"
            long_home(home, length)
            with survivors(home, agents) as reopen:
                recoveries = [reopen() for _ in range(rounds)]
                took[length] = recoveries, listing.measure(listing.ps(home), agents, rounds)[0]
    return took


def section_of_agents(took: dict[int, list[float]], left_out: Sequence[str]) -> Section:
    """The table of starts."""
    each = {count: median(seconds) for count, seconds in took.items()}
    least = {count: min((each[few] for few in each if few < count), default=None) for count in each}
    return Section(
        title="Growth: agents",
        how="`spawn_many` in an empty home, from the order until each is RUNNING in the log, durably, and was seen "
        "executing. Each is watched for 0.1 s, all at once: of few agents, that is most of the time.",
        headings=("agents", "all", "each", "each, to the least of fewer"),
        rows=[
            (
                f"{count:,}",
                in_seconds(each[count] * count),
                spread(seconds, milliseconds),
                times((few := least[count]) and each[count] / few),
            )
            for count, seconds in took.items()
        ],
        notes=(
            f"runs of each in turn: {len(took[min(took)])}; home: {description()}",
            *left_out,
        ),
        picture=("time of a start for each agent", "growth-agents.svg"),
    )


def section_of_log(took: dict[int, tuple[list[float], list[float]]], agents: int) -> Section:
    """The table of recoveries and listings."""
    shortest, _ = took[min(took)]
    return Section(
        title="Growth: the log",
        how=f"{agents} agents alive, and a log of others that ended long ago: `Manager.open` after a SIGKILL, and "
        "`outlive ps` as a command, cold start included.",
        headings=("events", "recovery", "to the shortest", "outlive ps"),
        rows=[
            (
                f"{length:,}",
                spread(recoveries, milliseconds),
                times(median(recoveries) / median(shortest)),
                spread(listings, milliseconds),
            )
            for length, (recoveries, listings) in took.items()
        ],
        notes=(f"recoveries and listings: {len(shortest)} of each",),
        picture=("time of a recovery and of a listing", "growth-log.svg"),
    )


def draw(
    place: Path, agents: dict[int, list[float]], log: dict[int, tuple[list[float], list[float]]]
) -> None:
    """Write both pictures."""
    starts = [(count, median(each) * 1e3) for count, each in agents.items()]
    (place / "growth-agents.svg").write_text(
        curves(
            "A start, for each agent",
            {"spawn_many, until RUNNING": starts},
            axes=("agents started at once", "milliseconds for each"),
            text="{:,.4g}".format,
        ),
        encoding="utf-8",
    )
    lines = {
        name: [(length, median(both[which]) * 1e3) for length, both in log.items()]
        for which, name in enumerate(("recovery", "outlive ps"))
    }
    (place / "growth-log.svg").write_text(
        curves(
            "Recovery and listing, with a longer log",
            lines,
            axes=("events in the log", "milliseconds"),
            text="{:,.4g}".format,
        ),
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the pictures and print the sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=COUNTS[-1], help=f"agents, of {COUNTS}")
    parser.add_argument("--most-events", type=int, default=LENGTHS[-1], help=f"of {LENGTHS}")
    parser.add_argument("--agents", type=int, default=100, help="alive while the log grows")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pictures", type=Path, default=PLACE, help="directory of the two SVG files")
    given = parser.parse_args(arguments)
    allow_descriptors(given.most)
    agents, left_out = by_agents(given.most, given.rounds)
    log = by_log(given.most_events, given.agents, given.rounds)
    draw(given.pictures, agents, log)
    print(section_of_agents(agents, left_out).as_markdown())
    print(section_of_log(log, given.agents).as_markdown())


if __name__ == "__main__":
    main()
