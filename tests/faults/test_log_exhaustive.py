"""Everything that can be done to the rows of a log of 1,000 events, each at every position: found at the right one.

The log is made by the real store, in a real database, with a checkpoint every hundred events. What is done is
committed, verified by a reader of its own, and undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from eventstore import chain, checkpoints, trust
from eventstore.appending import Batch
from eventstore.chain import Verdict
from eventstore.checkpoints import CheckpointFile
from eventstore.reader import Reader
from eventstore.record import COLUMNS, Head
from eventstore.store import EventStore
from tests.faults.forging import DAMAGES, Forger, Row, forging, other_value
from tests.support.cluster import Cluster
from tests.support.histories import new, samples
from tests.support.tally import Tally

ROWS, EVERY = 1000, 100
EXTENT = pytest.mark.parametrize(
    "step",
    [199, pytest.param(1, marks=pytest.mark.faults)],
    ids=["a part", "all"],
)


class Log(NamedTuple):
    """The log, somebody's own way to it, its rows, and what it is known to be. `row`: of the table of faults."""

    url: str
    forger: Forger
    rows: list[Row]
    known: list[Head]
    row: str

    def verify(self) -> Verdict:
        """What a verification finds."""
        with closing(Reader.open(self.url)) as reader:
            verdict = reader.verify()
            return trust.contradicted(reader, verdict, self.known) if verdict.is_intact else verdict


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For files."""
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, place: Path) -> Iterator[str]:
    """A database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{place}/events.db"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.new_database()
    yield url
    cluster.drop(url)


@pytest.fixture(scope="module")
def made(url: str, place: Path) -> Iterator[Log]:
    """A log that somebody can change."""
    file = CheckpointFile(place / f"{url.partition(':')[0]}.jsonl", home="home", key=None, clock=lambda: 0)
    with (
        pytest.MonkeyPatch.context() as patch,
        EventStore.open(url, home="home", host="host", checkpoints=file) as store,
    ):
        patch.setattr(checkpoints, "EVERY_EVENTS", EVERY)
        events = [event for event in samples() for _ in range(5)]
        for first in range(0, ROWS, EVERY):
            wanted = [
                Batch(
                    stream=f"agent/{number % 7}",
                    events=[new(events[number % len(events)])],
                    expected_version=number // 7,
                )
                for number in range(first, first + EVERY)
            ]
            store.append_many(wanted, epoch=None)
        rows = [tuple(row) for row in store.read()]
        known = [*sorted(one.head for one in file.read()), store.head()]
    assert [head.position for head in known[:-1]] == list(range(EVERY, ROWS + 1, EVERY))
    kind = "" if url.startswith("sqlite:") else ", in PostgreSQL"
    with forging(url) as forger:
        yield Log(url, forger, rows, known, f"13 a row of 1,000 {{}}{kind}")


@pytest.fixture
def log(made: Log) -> Iterator[Log]:
    """It is whole, and so it is left."""
    is_whole = chain.intact(ROWS, made.known[-1].hash, checked=ROWS)
    assert made.verify() == is_whole
    yield made
    assert made.verify() == is_whole


@EXTENT
def test_an_edit_of_any_column_of_any_row(log: Log, tally: Tally, step: int) -> None:
    """The row is named, and that it was changed; so is what was moved to another place."""
    wrong, count = [], 0
    cells = [(at, column) for at in range(1, ROWS + 1) for column in COLUMNS[1:]]
    for at, column in cells[::step]:
        value = log.rows[at - 1][COLUMNS.index(column)]
        log.forger.put(column, at, other_value(column, value))
        verdict = log.verify()
        log.forger.put(column, at, value)
        count += 1
        if (verdict.position, verdict.problem) != (at, "row changed"):
            wrong.append(f"{column} of {at}: {verdict}")
    assert not wrong
    tally(log.row.format("edited in a column"), runs=count, noticed=count)


@EXTENT
@pytest.mark.parametrize("what", DAMAGES)
def test_rows_that_are_not_where_they_were(log: Log, tally: Tally, what: str, step: int) -> None:
    """The first position that is not what it was; for a suffix that was computed anew, its first checkpoint."""
    damage, expected = DAMAGES[what]
    wrong, count = [], 0
    known = [head.position for head in log.known]
    places = sorted({1, 2, EVERY, EVERY + 1, ROWS - 1, ROWS, *range(1, ROWS + 1, step)})
    for at in places:
        log.forger.write(damage(log.rows, at))
        verdict = log.verify()
        count += 1
        if verdict.is_intact or verdict.position != expected(at, known):
            wrong.append(f"{at} {what}: {verdict}")
    log.forger.write(log.rows)
    assert not wrong
    tally(log.row.format(what), runs=count, noticed=count)
