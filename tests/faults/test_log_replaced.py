"""A log that somebody edited, or in whose place something else lies: noticed, refused, and nobody started twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore.record import COLUMNS
from manager import Manager
from tests.faults.run import Run
from tests.faults.store_damage import FILES, Kept, fold_wal, noticed_by_start, noticed_by_verify
from tests.faults.store_edits import Edit, copy, edits, older_with_wal, others
from tests.faults.test_log_damage import make
from tests.support.processes import runs as is_running
from tests.support.promises import clean_up
from tests.support.tally import Tally

READING = (
    *(("ps", "--all"), ("status", "first"), ("events",), ("logs", "first"), ("verify",)),
    *(("rebuild", "--check"), ("doctor",), ("db", "current"), ("wait", "--timeout", "0", "first")),
)
EXTENT = pytest.mark.parametrize("extent", ["a part", pytest.param("all", marks=pytest.mark.faults)])


def last_position(home: Path) -> int:
    """Where the log ends."""
    with closing(sqlite3.connect(home / "events.db")) as database:
        return int(database.execute("SELECT max(position) FROM events").fetchone()[0])


def checkpoints(home: Path) -> list[int]:
    """Where the log was looked at."""
    lines = (home / "checkpoints.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["position"] for line in lines)


def files(home: Path) -> dict[str, bytes]:
    """What the log's files hold; a reader makes an empty WAL."""
    found = {name: home / name for name in FILES if (home / name).is_file()}
    return {name: content for name, path in found.items() if (content := path.read_bytes())}


def unnoticed(home: Path, edit: Edit) -> str | None:
    """Do it; what was not as promised, or None: `verify` and a start say where, and nothing is written."""
    edit.damage.do(home)
    before = files(home)
    for who, said in (("verify", noticed_by_verify(home)), ("a start", noticed_by_start(home))):
        if said is None:
            return f"{edit.damage.what}: not noticed by {who}"
        if edit.position is not None and not re.search(rf"\b{edit.position}\b", said):
            return f"{edit.damage.what}: {who} does not name {edit.position}: {said}"
    return None if files(home) == before else f"{edit.damage.what}: something was written"


def said_badly(run: Run, edit: Edit) -> list[str]:
    """What commands that read say of it, where that is not an answer or an error in outlive's words."""
    wrong = []
    for words in READING:
        done = run.outlive(*words)
        if "Traceback" in done.stderr or "internal" in done.stderr or done.returncode not in range(9):
            wrong.append(f"{edit.damage.what}: {' '.join(words)}: {done.returncode} {done.stderr}")
        if words == ("verify",) and done.returncode not in (6, 7):
            wrong.append(f"{edit.damage.what}: verify ends with {done.returncode}: {done.stderr}")
    return wrong


def stranger(run: Run) -> Path:
    """The log of another home."""
    place = run.path / "stranger"
    with Manager.open(place):
        pass
    fold_wal(place)
    kept = copy(place, run.path / "stranger-kept")
    clean_up(place)
    return kept


@EXTENT
def test_a_log_that_was_edited_or_replaced(tmp_path: Path, tally: Tally, extent: str) -> None:
    """Whatever was done to the rows or the files, the agents run on and none is started again."""
    with Run.create(tmp_path, seed=130) as run:
        with run.coordinator() as first:
            first.spawn(run.agent("--exit-after", "0.1", "--code", "7"))
        fold_wal(run.home)
        older = copy(run.home, run.path / "older")
        living = make(run, "at rest")
        run.fault("damage", "store")
        kept, starts = Kept(run.home), run.told_by_agents()
        wanted = [
            *edits(last_position(run.home), ", ".join(COLUMNS), checkpoints(run.home)),
            *others(run.home, older, stranger(run)),
        ]
        missed, asked = [], 0
        for number, edit in enumerate(wanted):
            kept.restore()
            if wrong := unnoticed(run.home, edit):
                missed.append(wrong)
            if extent == "all" or number % 8 == 0 or "pipe in" in edit.damage.what:
                missed.extend(said_badly(run, edit))
                asked += len(READING)
        kept.restore()
        assert not missed, "\n".join(missed)
        assert run.told_by_agents() == starts
        assert all(map(is_running, living))
        tally("13 rows or files of a log swapped, cut, forged", runs=len(wanted), noticed=len(wanted))
        tally("13 reading command on a damaged log", runs=asked)
        run.judge()


def test_an_older_copy_with_its_wal(tmp_path: Path, tally: Tally) -> None:
    """A database and its WAL, whole in themselves, of a time before the last agent was started."""
    with Run.create(tmp_path, seed=131) as run:
        first = run.coordinator()
        first.spawn(run.agent())
        first.kill()
        older = copy(run.home, run.path / "older")
        assert (older / "events.db-wal").stat().st_size
        with run.coordinator() as second:
            second.spawn(run.agent())
        kept, starts = Kept(run.home), run.told_by_agents()
        run.fault("damage", "store")
        assert unnoticed(run.home, Edit(older_with_wal(older), None)) is None
        kept.restore()
        assert run.told_by_agents() == starts
        tally("13 older copy with its WAL", noticed=1)
        run.judge()


@pytest.mark.parametrize("what", ["unlinked", "replaced by a copy", "restored"])
def test_a_log_that_went_away_under_its_coordinator(tmp_path: Path, tally: Tally, what: str) -> None:
    """It starts nothing more, its agents run on, and the next one goes on with the log once that is put back."""
    with Run.create(tmp_path, seed=132) as run:
        coordinator = run.coordinator()
        coordinator.spawn(run.agent())
        older = copy(run.home, run.path / "older")
        coordinator.spawn(run.agent())
        run.fault("damage", "store")
        aside, database = run.path / "aside", run.home / "events.db"
        shutil.copy(database, aside)
        os.link(database, run.path / "original")
        if what == "unlinked":
            database.unlink()
        else:
            source = aside if what == "replaced by a copy" else older / "events.db"
            shutil.copy(source, run.home / "events.new")
            (run.home / "events.new").replace(database)
        answer = coordinator.ask("spawn", items=[{"name": None, "spec": run.agent()}])
        assert answer["answer"] == "error", answer
        assert len(run.told_by_agents()) == 2
        coordinator.kill()
        (run.path / "original").replace(database)
        tally(f"13 log {what} under its coordinator", noticed=1)
        assert len(json.loads(run.outlive("ps", "--json").stdout)["agents"]) == 2
        run.judge()
