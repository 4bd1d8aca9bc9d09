"""Homes with a long log: agents that ended long ago, five events each, as a coordinator would have recorded them."""

import os
import random
import shutil
from pathlib import Path

from benchmarks.labelled import SECOND, START, History, Life
from eventstore.appending import Batch
from eventstore.store import EventStore
from manager.home import Home
from projections.agents import AgentsProjection

KEPT_LOGS = "OUTLIVE_BENCH_LOGS"
AT_ONCE = 2000  # agents in one append
LIFE = 5  # events


def long_home(place: Path, events: int) -> None:
    """A home at `place`, where nothing is yet, whose log has `events` or a few more.

    Where OUTLIVE_BENCH_LOGS names a directory, it is copied from there, or kept there for the next who wants as many.
    """
    kept = Path(os.environ[KEPT_LOGS]) / str(events) if KEPT_LOGS in os.environ else None
    if kept is not None and kept.is_dir():
        shutil.copytree(kept, place)
        return
    lengthen(place, events)
    if kept is not None:
        shutil.copytree(place, kept)


def lengthen(place: Path, events: int, seed: int = 1) -> int:
    """Append lives of agents to the log of the home, which nobody may hold, until it has `events` or a few more.

    The last position. The home is made where it is missing. The same log for the same seed, ids included.
    """
    home, chance = Home(place), random.Random(seed)
    with EventStore.open(
        f"sqlite:///{home.database}",
        home=home.prepare().id,
        host="bench",
        inline=[AgentsProjection()],
        head=home.head,
    ) as store:
        chance.seed(f"{seed} {store.head().position}")
        while (left := events - store.head().position) > 0:
            agents = min(AT_ONCE, -(-left // LIFE))
            store.append_many([_life(chance, number) for number in range(agents)], epoch=None)
        return store.head().position


def _life(chance: random.Random, number: int) -> Batch:
    history = History()
    life = Life(history, chance, f"ended{number:05}")
    began_at = START + round(chance.uniform(0, 1e6) * SECOND)
    life.start(began_at)
    life.end(began_at + round(chance.uniform(1, 3600) * SECOND))
    batches = [batch for _, batch in history.batches]
    events = tuple(event for batch in batches for event in batch.events)
    return Batch(stream=batches[0].stream, events=events, expected_version=0)
