"""What reports say is what the log says: held against figures reckoned from its raw rows in plain Python."""

import json
import math
import random
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import InvalidRequest
from eventstore.reader import Reader
from eventstore.store import EventStore
from projections.catchup import catch_up
from projections.fingerprint import fingerprint
from projections.reporting import nothing, report
from projections.reports import LATEST, REPORTS
from tests.store.agents import RUNNING, STARTED, append
from tests.store.conftest import Database
from tests.support import lives
from tests.support.histories import spawning
from tests.support.reckoning import RECKONED, Attempt, attempts_of, grouped

DAY = 86_400_000_000
NOW = lives.BEGIN + 10 * DAY
GROUPS = ("name", "agent", "host", "home", "label:team", 'label:a "b" c', "day", "hour")
Period = tuple[int | None, int | None]
PERIODS: list[Period] = [(None, None), (lives.BEGIN + DAY, lives.BEGIN + 2 * DAY), (NOW, None)]


def _filled(path: Path, attempts: int, seed: int) -> Reader:
    with EventStore.open(f"sqlite:///{path}", home="home-1", host="host-1") as store:
        lives.fill(store, attempts=attempts, seed=seed)
        catch_up(store)
    return Reader.open(f"sqlite:///{path}")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Path]:
    """10,000 attempts, read."""
    path = tmp_path_factory.mktemp("history") / "events.db"
    return _filled(path, 10_000, seed=7), path


@cache
def _attempts(path: Path) -> list[Attempt]:
    return attempts_of(path)


def _held(history: tuple[Reader, Path], name: str, by: str, period: Period = (None, None)) -> None:
    (reader, path), (since, until) = history, period
    counts, at, figures = RECKONED[name]
    low, high = since or 0, LATEST if until is None else until
    rows = [one for one in _attempts(path) if counts(one) and _counts(name, one, at, low, high)]
    found = report(reader, name, by=by, since=since, until=until, now=NOW)
    wanted = {
        key: figures(mine, since=low, until=high, now=NOW) for key, mine in grouped(rows, by, at).items()
    }
    seen = {row[0]: dict(zip((c.name for c in found.columns), row[1:], strict=True)) for row in found.rows}
    assert seen.keys() == wanted.keys()
    for key, right in wanted.items():
        assert _differing(right, seen[key]) == {}, key
    total = dict(zip((c.name for c in found.columns), found.total[1:], strict=True))
    if rows:
        right = figures(rows, since=low, until=high, now=NOW)
        assert _differing(right, total) == {}


def _differing(right: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (found[name], value)
        for name, value in right.items()
        if found[name] != value
        and (value is None or found[name] is None or not math.isclose(value, found[name], rel_tol=1e-9))
    }


def _counts(name: str, one: dict[str, Any], at: str, low: int, high: int) -> bool:
    if name == "uptime":  # whatever of it lies in the period
        return one["started"] <= high and (one["ended"] is None or one["ended"] >= low)
    return bool(low <= one[at] <= high)


@pytest.mark.parametrize("name", RECKONED)
def test_every_figure_of_ten_thousand_attempts_is_right(history: tuple[Reader, Path], name: str) -> None:
    """By every group and in every period, with running ones, unknown ends, failed starts and clocks set back."""
    for by in GROUPS:
        if by.partition(":")[0] in REPORTS[name].by:
            for period in PERIODS[: 1 if by in ("agent", "hour") else 3]:
                _held(history, name, by, period)


@pytest.mark.parametrize("by", ["cause", "outcome"])
def test_failures_by_cause_and_outcome(history: tuple[Reader, Path], by: str) -> None:
    """Grouped by what only ended attempts have; those that did not fail have no cause."""
    _held(history, "failures", by)


def _words(exit_: dict[str, Any]) -> str:
    kind = str(exit_["kind"])
    return kind if kind == "unknown" else f"{kind} {exit_[kind]}"


def test_alike_failures_are_counted_together(history: tuple[Reader, Path]) -> None:
    """By fingerprint: how many, of how many agents, first and last seen, with their cause, exit and line."""
    reader, path = history
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT stream, attempt, type, occurred_at, data FROM events"
            " WHERE type IN ('ZOMBIE_REAPED', 'FAILED', 'LOST') ORDER BY position"
        ).fetchall()
    connection.close()
    exits: dict[tuple[str, int], dict[str, Any]] = {}
    wanted: dict[str, list[tuple[str, int, str]]] = {}
    ends: dict[str, str | None] = {}
    for stream, attempt, kind, at, text in rows:
        data = json.loads(text)
        if kind == "ZOMBIE_REAPED":
            exits[stream, attempt] = data
            continue
        ended = exits.get((stream, attempt))
        output = data.get("last_output") or {"text": data.get("message") or data["reason"]}
        lines = output["text"].splitlines()
        alike = fingerprint(data.get("cause", "unknown"), ended and ended["exit"], lines)
        ends[alike.id] = None if ended is None else _words(ended["exit"])
        over = ended["ended_at"] if ended and ended["ended_at"] is not None else at
        wanted.setdefault(alike.id, []).append((stream, over, alike.line))
    found = report(reader, "failures", by="fingerprint", now=NOW)
    assert len(found.rows) == len(wanted) > 5
    for mark, failures, agents, first, last, _, end, line in found.rows:
        mine = wanted[mark]
        assert failures == len(mine)
        assert agents == len({stream for stream, _, _ in mine})
        assert (first, last) == (min(at for _, at, _ in mine), max(at for _, at, _ in mine))
        assert end == ends[mark]  # all of them ended so, and "ended with signal <n>" does not say by which
        assert {line} == {one for _, _, one in mine}


def test_samples_are_in_the_resources(tmp_path: Path) -> None:
    """Means are over all samples of a group, the highest over all of its attempts; without samples there is none."""
    path = tmp_path / "events.db"
    samples = [
        ("a", 1, 1, 10.0, 100, 1, 1),
        ("a", 1, 2, 30.0, 300, 4, 2),
        ("b", 1, 3, None, 800, 2, 3),
        ("b", 1, 4, 50.0, 400, 2, 1),
    ]
    with EventStore.open(f"sqlite:///{path}", home="home-1", host="host-1") as store:
        for agent in ("a", "b", "c"):
            append(store, agent, spawning(name=agent), STARTED, RUNNING)
        catch_up(store)
        with store.write() as connection:
            for row in samples:
                connection.exec_driver_sql("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        reader = store.reader()
        found = report(reader, "resources", by="agent", now=NOW)
        titles = [column.name for column in found.columns]
        rows = {row[0]: dict(zip(titles, row[1:], strict=True)) for row in (*found.rows, found.total)}
        reader.close()
    assert (rows["a"]["mean_cpu_percent"], rows["a"]["most_memory_bytes"], rows["a"]["most_processes"]) == (
        20,
        300,
        2,
    )
    assert (rows["b"]["mean_cpu_percent"], rows["b"]["mean_memory_bytes"]) == (50, 600)
    assert (rows["c"]["samples"], rows["c"]["mean_cpu_percent"], rows["c"]["most_memory_bytes"]) == (
        0,
        None,
        None,
    )
    assert (rows["all"]["samples"], rows["all"]["mean_memory_bytes"]) == (4, 400)
    assert rows["all"]["mean_cpu_percent"] == pytest.approx(30)  # of the three that have a figure


@pytest.mark.parametrize("name", REPORTS)
def test_of_nothing_there_is_nothing_to_tell(database: Database, name: str) -> None:
    """An empty log gives no rows, and a total without figures that would be guesses."""
    database.open()
    reader = Reader.open(database.url)
    found = report(reader, name, now=NOW)
    assert (found.rows, found.position) == ((), 0)
    assert all(value in (None, 0) for value in found.total[1:])
    assert found.as_json()["rows"] == nothing(name).as_json()["rows"] == []
    reader.close()


def test_one_attempt_that_runs(tmp_path: Path) -> None:
    """It has run until now, has not failed, and its duration is not known yet."""
    path = tmp_path / "events.db"
    with EventStore.open(f"sqlite:///{path}", home="home-1", host="host-1") as store:
        chance = random.Random(1)
        events = list(lives.life(chance, "a", most=1))[:3]
        store.append("agent/a", events, expected_version=0, epoch=None)
        catch_up(store)
        reader = store.reader()
        started = events[1].occurred_at
        assert report(reader, "durations", now=started).rows == ()
        assert report(reader, "failures", now=started).rows == ()
        (row,) = report(reader, "uptime", now=started + 2_500_000).rows
        assert row[1:] == (1, 1, 2.5, 1.0, 2.5, 0)
        (row,) = report(reader, "uptime", now=started - 9).rows  # a clock that went back
        assert row[3] == 0
        (row,) = report(reader, "restarts", now=started + 2_500_000).rows
        assert row[1:] == (1, 1, 0, 0, 0, None, 2.5, None)
        reader.close()


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("failures", "nothing"),
        ("failures", "label"),
        ("failures", "label:"),
        ("failures", "name:x"),
        ("failures", "name; DROP TABLE runs"),
        ("uptime", "day"),
        ("recoveries", "name"),
        ("gossip", "name"),
    ],
)
def test_other_reports_and_groups_are_refused(history: tuple[Reader, Path], name: str, by: str) -> None:
    """What can be asked is a closed list; nothing else becomes SQL."""
    with pytest.raises(InvalidRequest, match="cannot report"):
        report(history[0], name, by=by, now=NOW)


def test_a_label_is_a_value_and_never_sql(history: tuple[Reader, Path]) -> None:
    """A key that looks like SQL or like a JSON path names a label that nobody has."""
    for key in ("' OR 1=1 --", "$.team", 'team"]', "naïve"):
        found = report(history[0], "failures", by=f"label:{key}", now=NOW)
        assert [row[0] for row in found.rows] == [None]
