"""A storm of kills: `python -m tests.faults.storm --kills 10000 --seed 1` (`--replay RUN` for one run again).

A busy coordinator with agents of every kind, and commands beside it; all of ours are killed again and again, alone and
together, while they work, while they recover, and agents with them. Each run (a home) has a hundred kills and is then
judged by the oracle. What is done and to whom is drawn from the seed; see tests/faults/storm_plan.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from tests.faults.run import Run
from tests.faults.storm_run import Storm
from tests.support.cluster import Cluster, running_cluster

KILLS_A_RUN = 100
LEAST_A_KILL = 0.1  # starts, and exits: who is killed before anything was done shows little


def one_run(parent: Path | None, seed: int, kills: int, database: str | None = None) -> Counter[str]:
    """A home, its storm, its judgement. Raises AssertionError with the run's directory kept.

    `database`: the URL of an empty PostgreSQL database, else the log is in the home.
    """
    with Run.create(parent, seed=seed, database=database) as run:
        storm = Storm(run, kills)
        try:
            storm.rage()
            storm.judge()
            require_work(storm.counts)
        finally:
            storm.clean_up()
        return storm.counts


def require_work(counts: Counter[str]) -> None:
    """Raises AssertionError when there were too few starts or exits for the kills to show anything."""
    exits = sum(count for name, count in counts.items() if name.startswith("exits "))
    least = int(LEAST_A_KILL * counts["kills"])
    assert min(counts["starts"], exits) >= least, (
        f"cannot judge by {counts['kills']} kills: in {counts['starts']} starts and {exits} exits, at least {least} of "
        "each, too little was done; run it again when the machine is less busy"
    )


def _one_run_or_violation(
    parent: Path, seed: int, kills: int, database: str | None = None
) -> tuple[Counter[str], str]:
    try:
        return one_run(parent, seed, kills, database), ""
    except Exception as error:
        told = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        return Counter({"violations": 1}), "\n".join(told)


def many_runs(
    parent: Path, seed: int, kills: int, workers: int, cluster: Cluster | None = None
) -> Counter[str]:
    """As many runs as it takes; a violation is told, counted and kept, and the storm goes on.

    With `cluster` each run's log is in a database of it.
    """
    total: Counter[str] = Counter()
    numbers = range(-(-kills // KILLS_A_RUN))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [
            pool.submit(
                _one_run_or_violation,
                parent,
                seed * 1_000_000 + number,
                KILLS_A_RUN,
                None if cluster is None else cluster.new_database(),
            )
            for number in numbers
        ]
        for number, future in enumerate(futures):
            counts, wrong = future.result()
            total.update({"runs": 1, **counts})
            if wrong:
                print(wrong, flush=True)
            if number % 25 == 24:
                print(f"{total['kills']} kills, {total['violations']} violations", flush=True)
    return total


def table(counts: Counter[str]) -> str:
    """For a person."""
    return "\n".join(f"{count:>8}  {name}" for name, count in sorted(counts.items()))


def main() -> int:
    """The exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replay", type=Path, metavar="RUN", help="the directory of a run that was kept")
    asked = parser.parse_args()
    begun = time.monotonic()
    parent = Path(tempfile.mkdtemp(prefix="outlive-storm-"))
    if asked.replay:
        seed, kills = (int((asked.replay / name).read_text()) for name in ("seed", "kills"))
        counts, wrong = _one_run_or_violation(parent, seed, kills)
        print(wrong)
    else:
        seed = random.randrange(10_000) if asked.seed is None else asked.seed
        print(f"seed {seed}; violations are kept below {parent}", flush=True)
        with running_cluster() if asked.database == "postgres" else nullcontext() as cluster:
            counts = many_runs(parent, seed, asked.kills, asked.workers, cluster)
    print(table(counts))
    print(f"{time.monotonic() - begun:8.0f}  seconds; seed {seed}; {counts['violations']} violations")
    if not counts["violations"]:
        parent.rmdir()
    return int(counts["violations"] > 0)


if __name__ == "__main__":
    sys.exit(main())
