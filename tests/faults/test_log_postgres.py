"""A log in PostgreSQL that somebody forged, or for which a backup was restored: refused, and nobody started twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventstore.errors import OutliveError
from manager import Manager
from manager.home import Home
from manager.verification import verify_home
from tests.faults.forging import DAMAGES, NAMES, Row, forging
from tests.faults.run import Run
from tests.faults.test_log_replaced import checkpoints
from tests.support.cluster import Cluster
from tests.support.tally import Tally

pytestmark = pytest.mark.postgres


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Iterator[Run]:
    """A home whose log is in a database of its own, with an agent that runs."""
    url = cluster.new_database()
    with Run.create(tmp_path, seed=133, database=url) as run:
        with run.coordinator() as first:
            first.spawn(run.agent("--beat"))
        yield run
    cluster.drop(url)


def _rows(run: Run) -> list[Row]:
    return run.rows(f"SELECT {NAMES} FROM events ORDER BY position")


def _unnoticed(run: Run, position: int) -> list[str]:
    """Who of `verify` and a start does not name this position, or writes."""
    assert run.database is not None
    before, wrong = _rows(run), []
    found = verify_home(Home(run.home), run.database)
    if found is None or found.is_intact or found.verdict.position != position:
        wrong.append(f"verify: {found}")
    try:
        Manager.open(run.home, run.database, announce=False).close()
        wrong.append("a coordinator has started")
    except OutliveError as error:
        if not re.search(rf"\b{position}\b", str(error)):
            wrong.append(f"a start does not name {position}: {error}")
    return wrong if _rows(run) == before else [*wrong, "something was written"]


def test_forged_rows(run: Run, tally: Tally) -> None:
    """Each way to forge, in the middle and at the end: `verify` and a start name the position."""
    run.fault("damage", "store")
    rows, starts = _rows(run), run.told_by_agents()
    known = [*checkpoints(run.home), len(rows)]
    assert run.database is not None
    missed, count = [], 0
    with forging(run.database) as forger:
        for what, (damage, expected) in DAMAGES.items():
            for at in (len(rows) // 2, len(rows)):
                forger.write(damage(rows, at))
                missed += [f"{at} {what}: {wrong}" for wrong in _unnoticed(run, expected(at, known))]
                count += 1
        forger.write(rows)
    assert not missed, "\n".join(missed)
    assert run.told_by_agents() == starts
    tally("13 rows of a home's log in PostgreSQL forged", runs=count, noticed=count)
    run.judge()


@pytest.mark.parametrize(
    "make", [Cluster.dump, Cluster.copy], ids=["a dump restored", "a copy as a template"]
)
def test_an_older_copy(cluster: Cluster, run: Run, tally: Tally, make: Callable[[Cluster, str], str]) -> None:
    """It is whole in itself; what is missing is named, and the next coordinator starts nothing on it."""
    assert run.database is not None
    older, kept = make(cluster, run.database), len(_rows(run))
    with run.coordinator() as second:
        second.spawn(run.agent("--beat"))
    starts = run.told_by_agents()
    run.fault("damage", "store")
    cluster.exchange(run.database, older)
    assert len(_rows(run)) == kept
    assert _unnoticed(run, kept + 1) == []
    verified = run.outlive("verify")
    assert verified.returncode == 6, verified
    assert run.told_by_agents() == starts
    cluster.exchange(run.database, older)
    tally("13 older copy of a log in PostgreSQL", noticed=1)
    run.judge()
    cluster.drop(older)


def test_a_backup_restored_under_its_coordinator(cluster: Cluster, run: Run, tally: Tally) -> None:
    """It connects again, finds less than it wrote, and starts nothing more."""
    assert run.database is not None
    coordinator = run.coordinator()
    older = cluster.dump(run.database)
    coordinator.spawn(run.agent("--beat"))
    run.fault("damage", "store")
    cluster.exchange(run.database, older)
    kept = _rows(run)
    answer = coordinator.ask("spawn", items=[{"name": None, "spec": run.agent()}])
    assert answer["answer"] == "error", answer
    assert len(run.told_by_agents()) == 2
    coordinator.kill()
    assert _rows(run) == kept
    cluster.exchange(run.database, older)
    tally("13 older copy of a log in PostgreSQL, under its coordinator", noticed=1)
    run.judge()
    cluster.drop(older)
