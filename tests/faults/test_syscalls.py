"""A fault at a system call, chosen by its number, in one process or thread of ours; then the oracle judges.

What is played is in `scenarios.py`. Every run here takes a few calls of each role, spread over all that it makes; those
marked `faults` take every one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.run import Run
from tests.faults.scenarios import ALONE, SCENARIOS, SIDE_BY_SIDE
from tests.faults.stage import Stage
from tests.faults.syscalls import Injection, errors, kills
from tests.support.tally import Tally

pytestmark = [pytest.mark.strace, pytest.mark.root]
FEW = {True: 12, False: 4}  # of what is played side by side, and one after the other
PARTS = 4  # a full sweep is cut into so many tests a role, for as many workers
BATCH = 12
TRIES = 3


@cache
def count(name: str) -> Counter[str]:
    """Play without a fault, once, and count the role's calls; nothing may be wrong with it."""
    counts: Counter[str] = Counter()
    with Run.create(seed=0) as run:
        with Stage(run) as stage:
            SCENARIOS[name](stage, [None])
            counts = stage.counts
        run.judge()
    return counts


def play(name: str, injections: Sequence[Injection], parent: Path) -> int:
    """Play with these faults, each on its own, and judge; how many were met."""
    hits: list[str] = []
    with Run.create(parent, seed=0) as run:
        try:
            with Stage(run, hits) as stage:
                for some in [injections] if name in SIDE_BY_SIDE else [[one] for one in injections]:
                    SCENARIOS[name](stage, some)
            run.judge()
        except BaseException as error:
            error.add_note(f"{name}: {', '.join(map(str, injections))}; met: {'; '.join(hits)}")
            raise
    return len(hits)


def sweep(name: str, injections: Sequence[Injection], parent: Path) -> int:
    """Play all of them, in runs of a few; how many were met."""
    size = 1 if name in ALONE else BATCH
    return sum(play(name, some, parent) for some in _cut(injections, size))


def _cut(injections: Sequence[Injection], size: int) -> Iterator[Sequence[Injection]]:
    left = iter(injections)
    while some := list(islice(left, size)):
        yield some


def a_few(name: str, injections: Sequence[Injection]) -> Sequence[Injection]:
    """Some of them, spread over all."""
    number = FEW[name in SIDE_BY_SIDE]
    return [injections[index * len(injections) // number] for index in range(number)]


def sweep_a_few(name: str, all_of: Callable[[Counter[str]], Iterator[Injection]], parent: Path) -> int:
    """Play some of them until half as many were met; who waits longer makes more calls than were counted, or fewer."""
    met = 0
    for _ in range(TRIES):
        chosen = a_few(name, list(all_of(count(name))))
        met += sweep(name, chosen, parent)
        if met >= len(chosen) // 2:
            return met
        count.cache_clear()
    raise AssertionError(
        f"{met} of {TRIES} times {FEW[name in SIDE_BY_SIDE]} were met: what is counted is not what is played"
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_a_system_call(name: str, tmp_path: Path, tally: Tally) -> None:
    """No promise depends on where exactly one of us dies."""
    met = sweep_a_few(name, kills, tmp_path)
    tally(f"2 kill at every system call of {name.partition(',')[0]}", runs=met)


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_every_system_call(name: str, part: int, tmp_path: Path, tally: Tally) -> None:
    """The same for each call of each kind, up to one more than it makes."""
    chosen = list(kills(count(name), beyond=2))[part::PARTS]
    met = sweep(name, chosen, tmp_path)
    tally(f"2 kill at every system call of {name.partition(',')[0]}", runs=met)


@pytest.mark.parametrize("name", SCENARIOS)
def test_error_at_a_system_call(name: str, tmp_path: Path, tally: Tally) -> None:
    """Whatever the system refuses, nothing hangs, and what was acknowledged holds."""
    met = sweep_a_few(name, errors, tmp_path)
    tally(f"14 error at every system call of {name.partition(',')[0]}", runs=met)


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
def test_error_at_every_system_call(name: str, part: int, tmp_path: Path, tally: Tally) -> None:
    """The same for each error that each call can return, at each that the role makes."""
    chosen = list(errors(count(name)))[part::PARTS]
    met = sweep(name, chosen, tmp_path)
    tally(f"14 error at every system call of {name.partition(',')[0]}", runs=met)
