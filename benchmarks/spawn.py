"""`python -m benchmarks.spawn`: start, weigh and stop N sleeping processes, beside s6, supervisor and plain Popen."""

import argparse
from collections.abc import Callable, Sequence

from benchmarks.filesystem import description
from benchmarks.harness import Report, Run, compare
from benchmarks.peers import PEERS
from benchmarks.report import Section, in_seconds, kilobytes, spread, times

BASELINE = "s6"


def section(report: Report) -> Section:
    """The medians of each peer and their ratios to s6's."""
    rows = []
    for each in report.summaries:
        runs = [run for run in report.runs if run.peer == each.peer]

        def told(field: str, form: Callable[[float], str], runs: Sequence[Run] = runs) -> str:
            return spread([getattr(run, field) for run in runs], form)

        rows.append(
            (
                f"{each.peer} {each.version}" + (f", {each.count} only" if each.count < report.count else ""),
                told("start_seconds", in_seconds),
                times(each.start_ratio),
                told("stop_seconds", in_seconds),
                times(each.stop_ratio),
                kilobytes(each.bytes_each),
            )
        )
    return Section(
        title=f"Starting and stopping {report.count} sleepers",
        how=(
            "From the request until each is reported running and was seen executing; then from the request to stop "
            "until none is left. Ratios are of the times for each sleeper, where one had fewer. Memory (PSS) is what "
            "the manager's own processes grew by, for each sleeper."
        ),
        headings=("manager", "start all", "to s6", "stop all", "to s6", "memory each"),
        rows=rows,
        notes=(
            f"runs of each in turn: {len(report.runs) // max(len(report.summaries), 1)}; pm2 by its command line",
            f"outlive's home: {description()}; s6 has its folders on a tmpfs, outlive-tmpfs has its home there",
            "outlive watches each for 0.1 s and has its RUNNING event on disk before it counts; the others record none",
            *(f"{peer} left out: {why}" for peer, why in report.skipped.items()),
        ),
    )


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(section(compare(list(PEERS.values()), arguments.count, arguments.rounds, BASELINE)).as_markdown())


if __name__ == "__main__":
    main()
