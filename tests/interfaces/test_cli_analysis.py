"""`report trends`, `anomalies` and `risks` on a real home: what is found, in which form, what is refused."""

from __future__ import annotations

import asyncio
import csv
import io
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.labelled import START, History, Life
from eventstore import samples
from eventstore.errors import InvalidRequest
from eventstore.samples import Sample
from eventstore.statements import Statements
from eventstore.store import EventStore
from manager import AsyncManager, Manager
from tests.interfaces.command_line import CommandLine

SECOND = 1_000_000


@pytest.fixture
def leaking(outlive: CommandLine) -> CommandLine:
    """A home with an agent that runs, whose samples say that its memory will be at its end in some minutes."""
    started = outlive("run", "--name", "leak", "--", "sleep", "600", OUTLIVE_SAMPLE_SECONDS="0")
    agent = started.stdout.strip()
    with open("/proc/meminfo", encoding="ascii") as file:
        [available] = [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    now = time.time_ns() // 1000
    step = available // 60
    rows = [Sample(agent, 1, now - (60 - n) * 10 * SECOND, 50.0, (n + 1) * step, 1, 1) for n in range(60)]
    url = f"sqlite:///{outlive.home / 'events.db'}"
    with EventStore.open(url, home="", host="", create=False) as store, store.write() as connection:
        samples.insert(Statements(connection), rows)
    return outlive


def test_a_leak_is_told_before_it_comes_to_its_own_limit(outlive: CommandLine) -> None:
    """The limit of its spec counts where it is the least."""
    options = ("--name", "leak", "--memory", "100M")
    agent = outlive("run", *options, "--", "sleep", "600", OUTLIVE_SAMPLE_SECONDS="0").stdout.strip()
    now = time.time_ns() // 1000
    rows = [Sample(agent, 1, now - (60 - n) * 10 * SECOND, 50.0, (n + 1) << 20, 1, 1) for n in range(60)]
    url = f"sqlite:///{outlive.home / 'events.db'}"
    with EventStore.open(url, home="", host="", create=False) as store, store.write() as connection:
        samples.insert(Statements(connection), rows)
    [found] = outlive.json("report", "risks")["findings"]
    assert "reaches the limit of 100M" in found["words"]


def test_a_leak_is_told_before_its_end(leaking: CommandLine) -> None:
    """Which agent, how probable, how much time is left, and from what: in JSON, CSV and a table."""
    document = leaking.json("report", "risks")
    assert (document["schema"], document["analysis"], document["threshold"]) == (
        "outlive.analysis/1",
        "risks",
        0.5,
    )
    [found] = document["findings"]
    assert (found["kind"], found["name"], found["attempt"]) == ("memory limit", "leak", 1)
    assert 0.5 <= found["score"] <= 1
    assert 60 < found["left_seconds"] < 3600
    assert "a minute and reaches the limit of" in found["words"]
    table = leaking("report", "risks").stdout.splitlines()
    assert table[0].split("\t") == ["NAME", "ATTEMPT", "KIND", "SCORE", "LEFT", "WHAT"]
    assert table[1].startswith("leak\t1\tmemory limit\t")
    [row] = csv.DictReader(io.StringIO(leaking("report", "risks", "--format", "csv").stdout))
    assert row["words"].split(" grows ")[0] == found["words"].split(" grows ")[0]
    assert leaking.json("report", "risks", "--threshold", "1")["findings"] == []


def test_the_past_is_analysed_as_it_was(leaking: CommandLine) -> None:
    """Before the samples there was no risk; what limits there were then is not known now."""
    assert leaking.json("report", "risks", "--until", "1h")["findings"] == []
    assert leaking.json("report", "risks", "--until", "0s")["findings"] == []


def test_one_of_many_attempts_was_unusual(outlive: CommandLine) -> None:
    """Twelve quick ones and a slow one: the slow one is told, in words, and what is no finding is none."""
    history, chance, at = History(), random.Random(1), START
    for seconds in (100, 101, 99, 100, 102, 98, 100, 101, 99, 103, 97, 100, 1000):
        life = Life(history, chance, "job")
        life.start(at)
        at += seconds * SECOND
        life.end(at)
    with Manager.open(outlive.home) as manager:
        manager._coordinator.store.append_many([batch for _, batch in history.batches], epoch=None)
        [found] = manager.analyse("anomalies").findings
        assert found.words == "took 16m40s, 10 times the 1m40s of 12 attempts before it at the median"
        assert manager.analyse("risks").findings == ()
        later = datetime.now(UTC) + timedelta(hours=1)
        assert manager.analyse("anomalies", since=later).findings == ()
        with pytest.raises(InvalidRequest, match="there are trends, anomalies, risks"):
            manager.analyse("fortunes")  # type: ignore[arg-type]
    told = outlive.json("report", "anomalies")["findings"][0]
    assert (told["kind"], told["words"], told["at"][-1]) == ("duration", found.words, "Z")
    trends = outlive("report", "trends")
    assert trends.stdout.startswith("NAME\tOF\tDIRECTION\tCHANGE\tWHAT\n")
    assert "job\tmemory\tsteady\t+0%\t50.0M at the median of 13 attempts" in trends.stdout


def test_an_empty_home_has_nothing_to_tell(outlive: CommandLine) -> None:
    """No agent, no finding, no error."""
    for name in ("trends", "anomalies", "risks"):
        assert outlive.json("report", name)["findings"] == []
        assert outlive("report", name, "--format", "csv").stdout.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("risks", "--by", "name"),
        ("trends", "--format", "svg"),
        ("failures", "--threshold", "1"),
        ("trends", "--threshold", "1"),
        ("risks", "--threshold", "much"),
    ],
)
def test_what_makes_no_sense_is_refused(outlive: CommandLine, options: tuple[str, ...]) -> None:
    """Exit code 2, and a line that names the option."""
    done = outlive("report", *options)
    assert done.returncode == 2
    assert "cannot understand the command" in done.stderr


def test_the_asynchronous_manager_analyses_too(outlive: CommandLine) -> None:
    """The same findings."""

    async def look() -> tuple[object, ...]:
        async with await AsyncManager.open(outlive.home) as manager:
            return (await manager.analyse("trends", threshold=0.0)).findings

    assert asyncio.run(look()) == ()


def test_it_starts_as_quickly_as_other_reading_commands(outlive: CommandLine) -> None:
    """Neither SQLAlchemy nor pydantic is loaded where the projections have come as far as the log."""
    program = (
        "import sys, manager.cli.report, manager.analysis\n"
        "print([m for m in ('sqlalchemy', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=outlive.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
