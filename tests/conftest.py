"""What every test shares: marks that say what a test needs, and an environment that leads nowhere else."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tally as tallies
from tests.support.cluster import Cluster, running_cluster
from tests.support.longest import place_of
from tests.support.projected import wrong_rows

POSTGRES_LIBRARY = Path("/usr/lib/postgresql")  # Debian keeps initdb there, outside PATH

LONG_SECONDS = 3600  # for one fault in full


def _missing_for_postgres() -> str | None:
    found = shutil.which("initdb") or any(POSTGRES_LIBRARY.glob("*/bin/initdb"))
    return None if found else "needs the PostgreSQL server programs (Debian: postgresql)"


def _missing_for_root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def _missing_for_strace() -> str | None:
    return None if shutil.which("strace") else "needs strace"


NEEDS = {"postgres": _missing_for_postgres, "root": _missing_for_root, "strace": _missing_for_strace}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run; leave out what nobody asked for."""
    if "faults" not in config.option.markexpr:
        long = {item for item in items if item.get_closest_marker("faults")}
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]
    items.sort(key=lambda item: place_of(item.path))
    for item in items:
        if item.get_closest_marker("faults") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))
    reasons = {mark: missing() for mark, missing in NEEDS.items()}
    for item in items:
        for mark, reason in reasons.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the home, the database or the crash points of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("OUTLIVE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(autouse=True)
def rows_are_what_the_log_says(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to a home, its rows are a fold of its log; marked `damages`: where they can't be."""
    place: Path | None = None
    if "tmp_path" in request.fixturenames and not request.node.get_closest_marker("damages"):
        place = request.getfixturevalue("tmp_path")
    yield
    if place is not None:
        assert not wrong_rows(place)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server, removed when the tests of this process are over."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """An empty PostgreSQL database."""
    url = cluster.new_database()
    yield url
    cluster.drop(url)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> tallies.Tally:
    """Counts runs and violations of a fault, for the table that ends the output: see tests/support/tally.py."""
    return tallies.counting(request.node.user_properties)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault tests counted."""
    rows = tallies.sums(report for reports in terminalreporter.stats.values() for report in reports)
    if rows:
        terminalreporter.section("faults")
        for line in tallies.table(rows):
            terminalreporter.write_line(line)
        tallies.keep(rows)
