"""The log in PostgreSQL is the same log as in SQLite: its hashes, its projections, its reports."""

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import psycopg
import pytest

from eventstore import segments
from eventstore.events import Event
from eventstore.reader import Reader
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.tables import metadata
from projections.agents import AgentsProjection
from projections.catchup import catch_up
from projections.checking import differences
from projections.rebuild import rebuild
from projections.reporting import Report, report
from projections.reports import REPORTS
from tests.store.agents import BACKOFF, FAILED, RUNNING, STARTED
from tests.support import lives
from tests.support.histories import coordinator_samples, reaped, spawning

pytestmark = pytest.mark.postgres
NOW = lives.BEGIN + 10 * 86_400_000_000


def _scripted(url: str) -> EventStore:
    """A log in which nothing is by chance, of a home and twenty agents."""
    ticks = iter(range(1, 1_000_000))
    store = EventStore.open(
        url, home="home-1", host="höst", inline=[AgentsProjection()], clock=lambda: next(ticks)
    )
    _append(store, "home/home-1", coordinator_samples())
    for number in range(20):
        history: list[Event] = [spawning(name=f"näme-{number}"), STARTED, RUNNING, reaped(), FAILED, BACKOFF]
        _append(store, f"agent/{number:016x}", history[: 1 + number % 6])
    return store


def _append(store: EventStore, stream: str, events: Sequence[Event]) -> None:
    found = [
        NewEvent(
            event=event,
            event_id=str(uuid5(NAMESPACE_OID, f"{stream}:{number}")),
            occurred_at=1_000 + number,
            actor="tests",
            correlation_id="c",
        )
        for number, event in enumerate(events)
    ]
    store.append(stream, found, expected_version=0, epoch=None)


def test_one_history_is_one_log_on_both(url: str, tmp_path: Path) -> None:
    """The same head hash, and the same rows of every projection."""
    heads, found = [], []
    for one in (f"sqlite:///{tmp_path}/events.db", url):
        with _scripted(one) as store:
            catch_up(store)
            heads.append(store.head())
        with closing(Reader.open(one)) as reader:
            assert reader.verify().is_intact
            assert list(differences(reader)) == []
            tables = ("events", "agents", "attempts", "runs", "timeline", "coordinators", "projections")
            columns = {table: ", ".join(metadata.tables[table].columns.keys()) for table in tables}
            found.append(
                {
                    table: reader.rows(f"SELECT {names} FROM {table} ORDER BY 1, 2")
                    for table, names in columns.items()
                }
            )
    assert heads[0] == heads[1]
    assert found[0] == found[1]


def test_reports_of_one_history_are_the_same_on_both(url: str, tmp_path: Path) -> None:
    """Each report by each of its groups, the types of the figures too; and a verification in two processes."""
    found: list[dict[tuple[str, str], Report]] = []
    for one in (f"sqlite:///{tmp_path}/events.db", url):
        with EventStore.open(one, home="home-1", host="host-1") as store:
            lives.fill(store, attempts=400, seed=11)
            catch_up(store)
        assert segments.verify(one, processes=2, least=500).is_intact
        with closing(Reader.open(one)) as reader:
            found.append(
                {
                    (name, by): report(reader, name, by=by, now=NOW)
                    for name, definition in REPORTS.items()
                    for by in ("label:team" if by == "label" else by for by in definition.by)
                }
            )
    for key, mine in found[0].items():
        its = found[1][key]
        assert (its.position, len(its.rows)) == (mine.position, len(mine.rows))
        for row, other in zip((mine.total, *mine.rows), (its.total, *its.rows), strict=True):
            assert all(map(_is_the_same, row, other)), key


def _is_the_same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other and type(one) is type(other)


def test_rows_made_anew_are_the_same(url: str) -> None:
    """Every projection, and the epochs, made anew from the log."""
    with _scripted(url) as store, closing(store.reader()) as reader:
        catch_up(store)
        queries = ("SELECT * FROM runs ORDER BY 1, 2", "SELECT * FROM epochs")
        before = [reader.rows(query) for query in queries]
        with psycopg.connect(url) as owner:
            owner.execute("SET session_replication_role = replica")
            owner.execute("DELETE FROM runs")
            owner.execute("INSERT INTO epochs VALUES ('stranger', 3)")
        assert list(differences(reader)) != []
        rebuild(store)
        assert list(differences(reader)) == []
        assert reader.rows("SELECT * FROM epochs WHERE home = 'stranger'") == []
        assert reader.rows(queries[0]) == before[0]
        assert reader.faults() == []
