"""`report` and `sql` on real agents: figures, groups, formats, refusals."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from eventstore import schema
from eventstore.errors import InvalidRequest
from eventstore.reader import Reader
from eventstore.sqlite import SqliteBackend
from manager import AsyncManager
from manager.cli import sanitize
from manager.cli.charts import Bar, bar_chart
from manager.freshness import bring_up_to_date
from tests.interfaces.command_line import CommandLine, end_all, until

SVG = "{http://www.w3.org/2000/svg}"

REPORTS = ("failures", "durations", "restarts", "uptime", "resources", "recoveries")
FORMULA, HOSTILE = "=1+1", "<b>bad</b>\x1b[2J"
FAILS = ("--", "sh", "-c", "echo job $$ broke >&2; sleep 0.2; exit 3")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A home with one agent that completed, two that failed alike, one of them twice, and one that runs.

    Made once: tests add no agents to it.
    """
    directory = tmp_path_factory.mktemp("lived")
    outlive = CommandLine(home=directory / "home", directory=directory)
    start = ("--start-window", "0ms", "--name")
    outlive.run(*start, "good", "--label", "team=blue", "--", "true")
    outlive.run(*start, "once", "--label", f"team={FORMULA}", *FAILS)
    outlive.run(*start, "twice", "--label", f"team={HOSTILE}", "--restart", "on-failure:1", *FAILS)
    outlive.run("--name", "lasting", "--label", "team=blue", "--", "sleep", "600")
    assert outlive("wait", "good", "once", "twice", "--timeout", "60").returncode != 124
    yield outlive
    end_all(outlive.home)


def test_what_is_alike_is_alike_in_reports_and_post_mortems(outlive: CommandLine) -> None:
    """Failures with one exit code and two reasons are two kinds, by one name everywhere, also once erased."""
    for name, line in (("a", "no room on disk 7"), ("b", "no room on disk 8"), ("c", "no route")):
        outlive.run("--start-window", "0ms", "--name", name, "--", "sh", "-c", f"echo {line} >&2; exit 1")
        outlive("wait", name)
    outlive("run", "--name", "never", "--", "/nowhere")
    told = {name: outlive.json("why", name)["alike"] for name in ("a", "b", "c", "never")}
    found = outlive.json("report", "failures", "--by", "fingerprint")["rows"]
    assert {row["group"]: row["failures"] for row in found} == {
        told["a"]["fingerprint"]: 2,
        told["c"]["fingerprint"]: 1,
        told["never"]["fingerprint"]: 1,
    }
    assert {row["error_line"] for row in found} == {one["line"] for one in told.values()}
    assert told["a"]["line"] == "no room on disk <n>"
    assert outlive("erase", "c").returncode == 0
    again = {
        row["group"]: row["error_line"]
        for row in outlive.json("report", "failures", "--by", "fingerprint")["rows"]
    }
    erased = outlive.json("why", "c")["alike"]
    assert again.keys() == {told["a"]["fingerprint"], told["never"]["fingerprint"], erased["fingerprint"]}
    assert again[erased["fingerprint"]] == erased["line"] == "(erased)"


def test_reports_of_real_agents(lived: CommandLine) -> None:
    """Rates, fingerprints, durations, restarts, uptime and coordinators are those of what ran."""
    found = lived.json("report", "failures", "--by", "label:team")
    rows = {row["group"]: row for row in found["rows"]}
    assert (rows[HOSTILE]["failed"], rows[HOSTILE]["ended"]) == (2, 2)
    assert (rows[FORMULA]["failure_rate"], rows["blue"]["success_rate"]) == (1.0, 1.0)
    assert (found["total"]["ended"], found["total"]["success_rate"]) == (4, 0.25)
    (alike,) = lived.json("report", "failures", "--by", "fingerprint")["rows"]
    assert (alike["failures"], alike["agents"], alike["error_line"]) == (3, 2, "job <n> broke")
    assert alike["first_failed_at"] < alike["last_failed_at"]
    durations = {row["group"]: row for row in lived.json("report", "durations")["rows"]}
    assert {name: row["attempts"] for name, row in durations.items()} == {"good": 1, "once": 1, "twice": 2}
    assert 0.2 <= durations["twice"]["p50_seconds"] <= durations["twice"]["p95_seconds"] < 60
    total = lived.json("report", "restarts")["total"]
    assert (total["attempts"], total["restarts"], total["given_up"], total["failed"]) == (5, 1, 1, 3)
    assert total["mtbf_seconds"] == pytest.approx(total["up_seconds"] / 3)
    uptime = {row["group"]: row for row in lived.json("report", "uptime")["rows"]}
    assert uptime["lasting"]["up_share"] == 1.0
    used = {row["group"]: row for row in lived.json("report", "resources")["rows"]}
    assert used["good"]["max_memory_bytes"] is None  # `true` has less than its shim had before it
    assert used["lasting"]["max_memory_bytes"] is None
    by_actor = {row["group"]: row for row in lived.json("report", "recoveries", "--by", "actor")["rows"]}
    mine = by_actor[f"uid:{os.getuid()}/cli"]
    assert (mine["coordinators"] >= 5, mine["vanished"]) == (True, 0)


def test_a_coordinator_that_was_killed_is_in_the_recoveries(outlive: CommandLine) -> None:
    """It vanished; how long there was none, and what its successor found, are told."""
    follower = outlive.start("run", "--name", "x", "--follow", "--", "sh", "-c", "echo up; sleep 600")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "up\n"
    follower.send_signal(signal.SIGKILL)
    follower.wait()
    assert outlive("recover").returncode == 0
    first, second = outlive.json("report", "recoveries", "--by", "epoch")["rows"]
    assert [first["group"], second["group"]] == ["1", "2"]
    assert (first["vanished"], first["reattached"], first["down_seconds"]) == (1, 0, None)
    assert (second["stopped"], second["reattached"]) == (1, 1)
    assert second["down_seconds"] > 0


def test_every_format_of_every_report(lived: CommandLine) -> None:
    """Table, JSON, CSV and SVG hold the same groups; no format lets a stranger's text do anything."""
    for name in REPORTS:
        by = () if name == "recoveries" else ("--by", "label:team")
        groups = [row["group"] for row in lived.json("report", name, *by)["rows"]]
        assert groups
        table = lived("report", name, *by, "--utc").stdout
        assert "\x1b" not in table
        assert len(table.splitlines()) == 1 + len(groups) + (len(groups) > 1)
        text = lived("report", name, *by, "--format", "csv").stdout
        rows = list(csv.reader(io.StringIO(text)))
        assert [row[0].removeprefix("'") for row in rows[1:]] == [
            sanitize.one_line(group) for group in groups
        ]
        assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)
        drawn = lived("report", name, *by, "--format", "svg").stdout
        root = ET.fromstring(drawn)
        bars = [one for one in root.iter(SVG + "rect") if one.get("class") == "bar"]
        assert len(bars) == len(groups)
        assert re.findall("<script|<b>|\x1b", drawn) == []
        assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_of_an_empty_home_there_is_nothing(outlive: CommandLine) -> None:
    """No rows, no home made; a chart says so."""
    for name in REPORTS:
        assert outlive.json("report", name)["rows"] == []
    assert "nothing in this period" in outlive("report", "failures", "--format", "svg").stdout
    assert outlive("sql", "SELECT 1").returncode == 7
    assert not outlive.home.exists()


def test_refusals_and_periods(lived: CommandLine) -> None:
    """What there is not is a usage error; a period that holds nothing is an empty report."""
    refused = lived("report", "failures", "--by", "gossip")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "outlive: cannot report failures by 'gossip': it can be grouped by name, "
    )
    assert lived("report", "gossip").returncode == 2
    assert lived.json("report", "failures", "--since", "2099-01-01T00:00:00Z")["rows"] == []
    assert len(lived.json("report", "failures", "--since", "1h")["rows"]) == 3


def test_each_projection_is_checked_and_rebuilt(outlive: CommandLine) -> None:
    """A row that was changed by hand is found with exit 6, and mended by a rebuild of that projection alone."""
    outlive.run("--", "sleep", "600")
    outlive("report", "failures")
    for projection in ("timeline", "runs", "coordinators"):
        with closing(sqlite3.connect(outlive.home / "events.db")) as database, database:
            database.execute(
                f"UPDATE {projection} SET actor = 'nobody'" if projection != "runs" else "DELETE FROM runs"
            )
        found = outlive("rebuild", "--check")
        assert found.returncode == 6
        assert f"{projection}." in found.stdout
        assert outlive("rebuild", projection).returncode == 0
        assert outlive("rebuild", "--check").returncode == 0


def test_ticks_of_a_chart_were_the_same(outlive: CommandLine) -> None:
    """Bars of short times and of failures with the same line can be told from each other."""
    for name, code in (("a", 3), ("b", 4)):
        outlive.run("--name", name, "--", "sh", "-c", f"sleep 0.2; echo boom >&2; exit {code}")
        outlive("wait", name)
    times, alike = (
        list(ET.fromstring(outlive("report", *words, "--format", "svg").stdout).iter(SVG + "text"))
        for words in (("durations",), ("failures", "--by", "fingerprint"))
    )
    ticks = [one.text for one in times if one.get("class") == "tick"]
    assert len(set(ticks)) == len(ticks) > 2
    assert {"code 3: boom", "code 4: boom"} <= {one.text for one in alike}


def test_a_label_of_wide_letters_was_cut_at_its_beginning() -> None:
    """What is shown of it fits beside its bar, whatever its letters are."""
    drawn = bar_chart("x", [Bar("漢" * 40, 1.0), Bar("x" * 40, 1.0)], axis="x", note="x", text=str)
    shown = [one.text for one in ET.fromstring(drawn).iter(SVG + "text")]
    assert {"漢" * 15 + "…", "x" * 31 + "…"} <= set(shown)


def test_a_label_that_was_mistyped_was_a_group_of_its_own(lived: CommandLine) -> None:
    """Where nothing has the label, that is said; not where something has it."""
    said = "nothing of it has the label 'taem'"
    assert said in lived("report", "failures", "--by", "label:taem").stderr
    assert lived("report", "failures", "--by", "label:team").stderr == ""


def test_sql(lived: CommandLine) -> None:
    """A SELECT in each format, its limits and its refusals."""
    select = "SELECT name, outcome FROM report_attempts WHERE outcome IS NOT NULL ORDER BY name, attempt"
    found = lived.json("sql", select, "--limit", "2")
    assert found["columns"] == ["name", "outcome"]
    assert found["is_cut"]
    assert len(found["rows"]) == 2
    assert "\x1b" not in lived("sql", select).stdout
    assert lived("sql", select, "--format", "csv").stdout.splitlines()[0] == "name,outcome"
    team = "SELECT json_extract(labels, '$.team') FROM report_attempts WHERE name = 'once'"
    assert lived("sql", team, "--format", "csv").stdout.splitlines()[1] == f"'{FORMULA}"
    refused = lived("sql", "DELETE FROM runs")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("outlive: cannot run this statement: ")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    late = lived("sql", endless, "--timeout", "200ms")
    assert late.returncode == 124, late.stderr
    # one call, within which SQLite does not look at the clock: it takes some weeks
    long = "SELECT instr(zeroblob(60000000), zeroblob(30000000) || x'01')"
    late = lived("sql", long, "--timeout", "200ms")
    assert (late.returncode, late.stdout) == (124, ""), late.stderr
    assert late.stderr.startswith("outlive: cannot go on: the query has taken 0.2 s; ask for less")
    assert json.loads(lived("sql", "SELECT 9e999, x'00ff'", "--json").stdout)["rows"] == [[None, "00ff"]]


def test_a_report_of_a_log_that_cannot_be_written_says_what_it_lacks(
    lived: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads as of where the projections stand; once it can be written, nothing is missing."""
    url = f"sqlite:///{lived.home}/events.db"
    with closing(sqlite3.connect(lived.home / "events.db")) as database, database:
        database.execute("UPDATE projections SET position = position - 1 WHERE name = 'runs'")
    with closing(Reader.open(url)) as reader, open(lived.home / "events.db.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(schema, "backend_for", lambda url: SqliteBackend(url, wait_seconds=0.2))
        note = bring_up_to_date(reader, url)
        assert note is not None
        assert re.match(r"the last (event is|\d+ events are) not in it yet; ", note)
        assert "cannot write" in note
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert bring_up_to_date(reader, url) is None
        assert bring_up_to_date(reader, "sqlite:////nowhere") is None  # nothing to do, nothing opened


def test_reports_from_python(lived: CommandLine) -> None:
    """`AsyncManager.report` and `Manager.report` give the command line's figures, up to date."""

    async def ask() -> None:
        async with await AsyncManager.open(lived.home) as manager:
            found = await manager.report("failures", by="name", since=datetime.now(UTC) - timedelta(hours=1))
            assert {row[0]: row[1] for row in found.rows} == {"once": 1, "twice": 2, "good": 1}
            assert found.position == manager._manager._view.reader.head().position
            with pytest.raises(InvalidRequest, match="cannot report"):
                await manager.report("gossip")

    asyncio.run(ask())


def test_reading_what_is_up_to_date_loads_little(lived: CommandLine) -> None:
    """Neither SQLAlchemy nor pydantic is loaded to report what the projections have taken in already."""
    assert lived("report", "failures").returncode == 0
    with closing(sqlite3.connect(lived.home / "events.db")) as connection:
        until(lambda: len(connection.execute("SELECT DISTINCT position FROM projections").fetchall()) == 1)
    done = lived("report", "failures", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "sqlite3" in done.stderr
    assert "sqlalchemy" not in done.stderr
    assert "pydantic" not in done.stderr
