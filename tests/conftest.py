"""What every test shares: marks that say what a test needs, and an environment that leads nowhere else."""

import os
import shutil
from pathlib import Path

import pytest

POSTGRES_LIBRARY = Path("/usr/lib/postgresql")  # Debian keeps initdb there, outside PATH


def _missing_for_postgres() -> str | None:
    found = shutil.which("initdb") or any(POSTGRES_LIBRARY.glob("*/bin/initdb"))
    return None if found else "needs the PostgreSQL server programs (Debian: postgresql)"


def _missing_for_root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def _missing_for_strace() -> str | None:
    return None if shutil.which("strace") else "needs strace"


NEEDS = {"postgres": _missing_for_postgres, "root": _missing_for_root, "strace": _missing_for_strace}


def pytest_configure(config: pytest.Config) -> None:
    """Know the one mark that is left out unless it is asked for."""
    config.addinivalue_line(
        "markers", "storm: more of the same, for a night: `pytest -m storm` or STORM=1 runs it"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run; leave out what nobody asked for."""
    if not os.environ.get("STORM") and "storm" not in config.option.markexpr:
        storm = [item for item in items if item.get_closest_marker("storm")]
        config.hook.pytest_deselected(items=storm)
        items[:] = [item for item in items if item not in storm]
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
