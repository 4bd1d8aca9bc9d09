"""A disk that fails at any call of an append, once or from then on: nothing is acknowledged that is not there."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from projections.checking import check
from tests.faults.appender import STREAM, opened, orders
from tests.faults.oracle.log import check_chain, read_rows
from tests.faults.syscalls import Injection
from tests.faults.tracing import Tracer
from tests.support.preloaded import ROOT, preloaded
from tests.support.tally import Tally

pytestmark = [pytest.mark.strace, pytest.mark.root]
CALLS = ("pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "openat", "link", "unlink", "pread64")
NAMES = ("EIO", "ENOSPC")
ENDINGS = ("close", "kill")


class Lasting(Injection):
    """The error at the `number`-th call and at all that follow."""

    @property
    def options(self) -> list[str]:
        """For strace."""
        *rest, inject = super().options
        return [*rest, f"{inject}+"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory where there is one."""
    path = Path(
        tempfile.mkdtemp(prefix="outlive-disk-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    yield path
    shutil.rmtree(path)


def play(place: Path, injection: Injection | None, ending: str) -> tuple[list[int], Counter[str], bool]:
    """Append in a process of its own; what was acknowledged, its calls, and whether the fault was met."""
    log = place / "log"
    shutil.rmtree(log, ignore_errors=True)
    shutil.copytree(place / "made", log)
    child = preloaded.start(
        "tests.faults.appender", [str(log), ending], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    with child.stdin, child.stdout, Tracer([child.pid], place / "trace", injection) as tracer:
        child.stdin.write(b"\n")
        child.stdin.flush()
        told = [int(line) for line in child.stdout.read().splitlines()]
        code = child.wait(60)
        tracer.detach()
    assert code in (0, -signal.SIGKILL), f"{injection}: it ended with {code}"
    return told, tracer.counts() if injection is None else Counter(), tracer.was_hit


def wrong(place: Path, told: list[int]) -> str | None:
    """Open the log again and append everything again; what is not as it should be, or None."""
    wanted = [event.event_id for _, events in orders() for event in events]
    acknowledged = [event.event_id for number in told for event in orders()[number][1]]
    with opened(place / "log") as store:
        found = [row.event_id for row in store.read()]
        if found != wanted[: len(found)] or len(found) < len(acknowledged):
            return f"{len(acknowledged)} were acknowledged, there are {found}"
        for version, events in orders():
            store.append(STREAM, events, expected_version=version, epoch=None)
        if [row.event_id for row in store.read()] != wanted:
            return "an event is missing, or there twice"
        if not store.verify().is_intact or check(store):
            return f"the log or its rows are not whole: {store.verify()} {check(store)}"
    violations = list(check_chain(read_rows(place / "log" / "events.db")))
    return str(violations[0]) if violations else None


def sweep(place: Path, step: int) -> tuple[int, list[str]]:
    """Every `step`-th of all faults; how many were met, and what went wrong."""
    (place / "made").mkdir()
    opened(place / "made").close()
    told, counts, _ = play(place, None, "close")
    assert told == list(range(len(orders())))
    assert wrong(place, told) is None
    faults = [
        kind(call, number, name)
        for kind, call, name in product((Injection, Lasting), CALLS, NAMES)
        for number in range(1, counts[call] + 1)
    ]
    met, found = 0, []
    for number, fault in enumerate(faults[::step]):
        told, _, was_hit = play(place, fault, ENDINGS[number % 2])
        met += was_hit
        if what := wrong(place, told):
            found.append(f"{type(fault).__name__} {fault}, then {ENDINGS[number % 2]}: {what}")
    assert met > len(faults[::step]) // 2, "the calls are no longer those that were counted"
    return met, found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.faults)])
def test_a_disk_that_fails_at_a_call(place: Path, tally: Tally, step: int) -> None:
    """Once, or from there on until the program has ended: afterwards the log opens, is whole, and takes the rest."""
    met, found = sweep(place, step)
    tally("14 disk error at every call of appends", runs=met, violations=len(found))
    assert not found, "\n".join(found)
