"""A log that was damaged under living agents: noticed, refused with the first bad position, and nobody started twice.

Every change of anything that can be read is noticed by the next coordinator or by `outlive verify`; what hits only
bytes that nobody reads is counted apart.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from eventstore.errors import StoreDamaged
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.store import EventStore
from projections.checking import differences
from projections.rebuild import rebuild
from tests.faults import store_damage as damages
from tests.faults.run import Run
from tests.faults.sql_damage import Cell, Tables
from tests.faults.store_damage import Damage, Kept, Seen
from tests.support.processes import runs as is_running
from tests.support.tally import Tally

EXTENT = pytest.mark.parametrize("extent", ["a part", pytest.param("all", marks=pytest.mark.faults)])
FORM = pytest.mark.parametrize("form", ["at rest", "with a WAL"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: what is judged here does not depend on the disk."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="outlive-log-", dir="/dev/shm"))
    yield path
    if not any(path.iterdir()):
        path.rmdir()


def make(run: Run, form: str) -> list[int]:
    """Agents that run and one that has ended; the pids of those that run.

    "at rest": all of the log is in the database; "with a WAL": the start of the last one is in that alone, and its
    coordinator was killed.
    """
    with run.coordinator() as first:
        _, _, quick = first.spawn(
            run.agent(), run.agent("--ignore", "TERM"), run.agent("--exit-after", "0.2", "--code", "7")
        )
        first.ask("wait", agents=[quick])
    damages.fold_wal(run.home)
    if form == "with a WAL":
        last = run.coordinator()
        last.spawn(run.agent())
        last.kill()
    living = [int(words[3]) for words in run.told_by_agents() if is_running(int(words[3]))]
    assert len(living) == 2 + (form == "with a WAL")
    return living


def sweep(run: Run, wanted: Iterable[Damage], living: list[int], *, starts_every: int = 1) -> list[Seen]:
    """Who noticed each damage; the agents are as they were all the time."""
    kept = Kept(run.home)
    starts = run.told_by_agents()
    seen, missed = [], []
    for number, damage in enumerate(wanted):
        one = kept.judge(damage, is_start_tried=number % starts_every == 0)
        seen.append(one)
        if one.kind == "missed":
            missed.append(damage.what)
        if number % 100 == 0:
            assert run.told_by_agents() == starts, damage.what
            assert all(map(is_running, living)), damage.what
    kept.restore()
    assert run.told_by_agents() == starts
    assert all(map(is_running, living))
    assert not missed
    return seen


def told(tally: Tally, row: str, seen: list[Seen]) -> None:
    """Count them."""
    counts = damages.count(seen)
    more = {kind.replace(" ", "_"): number for kind, number in counts.items() if kind != "missed"}
    tally(f"13 {row}", runs=len(seen), violations=counts["missed"], **more)


@EXTENT
@FORM
def test_cut_at_every_512_bytes(place: Path, tally: Tally, extent: str, form: str) -> None:
    """A file that ends too early, as after a crash of the file system, is never taken for a shorter history."""
    with Run.create(place, seed=13) as run:
        living = make(run, form)
        run.fault("damage", "store")
        sizes = {
            name: (run.home / name).stat().st_size for name in damages.FILES if (run.home / name).exists()
        }
        step = 1 if extent == "all" else 3
        wanted = [damage for name, size in sizes.items() for damage in damages.cuts(name, size)][::step]
        told(tally, f"log cut at every 512 bytes, {form}", sweep(run, wanted, living, starts_every=2))
        run.judge()


@EXTENT
@FORM
def test_flipped_bits(place: Path, tally: Tally, extent: str, form: str) -> None:
    """A bit that flips anywhere in the files is noticed, unless nobody reads it: "all" is one in every 16th byte."""
    with Run.create(place, seed=14) as run:
        living = make(run, form)
        run.fault("damage", "store")
        name = "events.db" if form == "at rest" else "events.db-wal"
        size = (run.home / name).stat().st_size
        step, starts_every = (16, 5) if extent == "all" else (size // 150, 1)
        wanted = damages.flips(name, size, step, first=step // 2)
        told(tally, f"log with a flipped bit, {form}", sweep(run, wanted, living, starts_every=starts_every))
        run.judge()


@EXTENT
def test_flipped_bits_of_events(place: Path, tally: Tally, extent: str) -> None:
    """Each bit of each column of each event: the verification names that very row, or what it was moved from."""
    with Run.create(place, seed=15) as run:
        living = make(run, "at rest")
        run.fault("damage", "store")
        known = HeadFile(run.home / "head").read()
        tables = Tables(run.home / "events.db")
        reader = Reader.open(f"sqlite:///{run.home}/events.db")
        count, missed = 0, []
        for cell, bit in bits(tables.cells("events"), 1 if extent == "all" else 211):
            with contextlib.suppress(sqlite3.IntegrityError), tables.changed(cell, bit):
                count += 1
                verdict = reader.verify(known=known)
                if verdict.is_intact or verdict.position != cell.rowid:
                    missed.append(f"{cell} bit {bit}: {verdict}")
        reader.close()
        tables.close()
        assert not missed
        assert damages.noticed_by_verify(run.home) is None
        assert all(map(is_running, living))
        tally("13 a flipped bit of an event", runs=count, violations=len(missed))
        run.judge()


CRITICAL = ("agent_id", "name", "is_final", "state", "attempt", "home", "version", "position")


@EXTENT
def test_flipped_bits_of_what_is_made_from_events(place: Path, tally: Tally, extent: str) -> None:
    """Each bit of the rows of agents, attempts, epochs and projections is found by `verify`.

    Where a start relies on it there is none. `rebuild` mends all of them.
    """
    step = 1 if extent == "all" else 397
    with Run.create(place, seed=16) as run:
        living = make(run, "at rest")
        run.fault("damage", "store")
        kept = Kept(run.home)
        starts = run.told_by_agents()
        tables = Tables(run.home / "events.db")
        reader = Reader.open(f"sqlite:///{run.home}/events.db")
        count, missed, wanted = 0, [], []
        for table in ("agents", "attempts", "epochs", "projections"):
            for cell, bit in bits(tables.cells(table), step):
                with contextlib.suppress(sqlite3.IntegrityError), tables.changed(cell, bit):
                    count += 1
                    if not _differs(reader):
                        missed.append(f"{cell} bit {bit}")
                    if table == "epochs" or (table == "agents" and cell.column in CRITICAL):
                        wanted.append((cell, bit))
        reader.close()
        tables.close()
        assert not missed
        tried = wanted[:: 5 if extent == "all" else 1]
        started = [f"{cell} bit {bit}" for cell, bit in tried if _starts(kept, cell, bit)]
        assert not started
        assert run.told_by_agents() == starts
        assert all(map(is_running, living))
        tally("13 a flipped bit of a row made from events", runs=count, starts_refused=len(tried))
        run.judge()


def bits(cells: Iterable[Cell], step: int) -> Iterator[tuple[Cell, int]]:
    """Every `step`-th bit of the values, and of each value at least one."""
    number = 0
    for cell in cells:
        chosen = [bit for bit in range(cell.bits) if (number + bit) % step == 0]
        yield from ((cell, bit) for bit in chosen or [number % cell.bits])
        number += cell.bits


def _differs(reader: Reader) -> bool:
    try:
        return next(differences(reader), None) is not None
    except StoreDamaged:
        return True


def _starts(kept: Kept, cell: Cell, bit: int) -> bool:
    """Whether a coordinator starts with this bit flipped; `rebuild` puts all right then."""
    kept.restore()
    tables = Tables(kept.home / "events.db")
    tables.change(cell, bit)
    tables.close()
    has_started = damages.noticed_by_start(kept.home) is None
    with EventStore.open(
        f"sqlite:///{kept.home}/events.db", home="", host="", head=kept.home / "head"
    ) as store:
        rebuild(store)
    assert damages.noticed_by_verify(kept.home) is None
    assert damages.noticed_by_start(kept.home) is None
    return has_started
