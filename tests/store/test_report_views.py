"""The views `report_…` are a public interface: documented column by column, used unchanged by any SQL tool."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from eventstore.store import EventStore
from projections.catchup import catch_up
from tests.support import lives

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "reports.md"
SLOWEST = "SELECT name, max(duration_seconds) AS slowest FROM report_durations GROUP BY name ORDER BY name"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with 300 attempts whose projections are up to date."""
    path = tmp_path_factory.mktemp("views") / "events.db"
    with EventStore.open(f"sqlite:///{path}", home="home-1", host="host-1") as store:
        lives.fill(store, attempts=300, seed=3)
        catch_up(store)
    return path


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    """A reader that can write nothing."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        yield opened


@pytest.fixture
def slowest(connection: sqlite3.Connection) -> dict[str, float]:
    """The longest duration by name."""
    return dict(connection.execute(SLOWEST).fetchall())


def _documented() -> dict[str, list[str]]:
    sections = re.split(
        r"^### ", DOCUMENT.read_text(encoding="utf-8").partition("## The views")[2], flags=re.MULTILINE
    )
    shared = re.findall(r"^\| `(\w+)` \|", sections[0], flags=re.MULTILINE)
    found = {}
    for section in sections[1:]:
        columns = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
        has_shared = "columns of every view of attempts" in section
        found[section.split()[0]] = [*shared, *columns] if has_shared else columns
    return found


def test_every_column_of_every_view_is_documented(connection: sqlite3.Connection) -> None:
    """The page names the views and their columns, in order, and no others."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    columns = {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names}
    assert _documented() == columns


def test_the_sqlite3_program_reads_the_views(database: Path, slowest: dict[str, float]) -> None:
    """As the page shows it, with the program that every system has."""
    program = shutil.which("sqlite3")
    if program is None:
        pytest.skip("needs the program sqlite3 (Debian: sqlite3)")
    done = subprocess.run(
        [program, "-readonly", "-json", str(database), SLOWEST],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert {row["name"]: row["slowest"] for row in json.loads(done.stdout)} == pytest.approx(slowest)


def _frame(connection: sqlite3.Connection) -> Any:
    pandas = pytest.importorskip("pandas", reason="needs pandas (pip install pandas)")
    return pandas.read_sql("SELECT * FROM report_durations", connection)


def test_pandas_reads_the_views(connection: sqlite3.Connection, slowest: dict[str, float]) -> None:
    """A view is a data frame, its instants are times."""
    frame = _frame(connection)
    pandas = pytest.importorskip("pandas")
    assert frame.groupby("name").duration_seconds.max().to_dict() == pytest.approx(slowest)
    times = pandas.to_datetime(frame.ended_at, unit="us", utc=True)
    assert (times - pandas.to_datetime(frame.started_at, unit="us", utc=True)).max().total_seconds() == (
        pytest.approx(max(slowest.values()))
    )


def test_duckdb_reads_the_views(connection: sqlite3.Connection, slowest: dict[str, float]) -> None:
    """DuckDB over what pandas has read: its own percentile of durations is the one of our report."""
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb (pip install duckdb)")
    frame = _frame(connection)
    with closing(duckdb.connect()) as engine:
        engine.register("report_durations", frame)
        assert dict(engine.execute(SLOWEST).fetchall()) == pytest.approx(slowest)
        rows = engine.execute(
            "SELECT name, quantile_disc(duration_seconds, 0.95) FROM report_durations GROUP BY 1"
        )
        found = dict(rows.fetchall())
    for name, percentile in found.items():
        query = "SELECT duration_seconds FROM report_durations WHERE name = ? ORDER BY 1"
        seconds = [row[0] for row in connection.execute(query, (name,))]
        assert percentile == pytest.approx(seconds[ceil(0.95 * len(seconds)) - 1])


def test_duckdb_attaches_the_database(database: Path, slowest: dict[str, float]) -> None:
    """DuckDB reads the file itself, as the page shows it; its extension comes from a package instead of INSTALL."""
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb (pip install duckdb)")
    extensions = pytest.importorskip(
        "duckdb_ext", reason="needs duckdb-ext-sqlite (pip install duckdb-ext-sqlite)"
    )
    (extension,) = Path(next(iter(extensions.__path__))).rglob("sqlite_scanner.duckdb_extension")
    with closing(duckdb.connect()) as engine:
        engine.execute(f"LOAD '{extension}'")
        engine.execute(f"ATTACH '{database}' AS outlive (TYPE sqlite, READ_ONLY)")
        found = engine.execute(SLOWEST.replace("FROM ", "FROM outlive.")).fetchall()
    assert dict(found) == pytest.approx(slowest)


def test_everything_that_one_request_caused_is_one_query(connection: sqlite3.Connection) -> None:
    """Each event of the timeline has its actor, correlation and, where another led to it, causation."""
    rows = connection.execute("SELECT actor, correlation_id, summary FROM report_events").fetchall()
    assert len(rows) > 1000
    assert all(all(row) for row in rows)
