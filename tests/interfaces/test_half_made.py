"""A home whose database was being made when its maker was killed, just while SQLite committed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manager import Manager
from tests.interfaces.command_line import CommandLine
from tests.support.agents import program

# More than fits into the cache is written into the file before the commit, and a journal is there to undo it.
_KILLED_HALF_WAY = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN")
database.execute("CREATE TABLE alembic_version (version_num TEXT)")
database.executemany("INSERT INTO alembic_version VALUES (?)", [("x" * 3000,)] * 50)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def half_made(outlive: CommandLine) -> Path:
    """A new home, with what such a maker left."""
    killed = outlive("run", "--", "true", OUTLIVE_CRASH="store.before_migration:1")
    assert killed.returncode == -signal.SIGKILL
    database = outlive.home / "events.db"
    for path in outlive.home.glob("events.db*"):
        path.unlink()
    done = subprocess.run([sys.executable, "-c", _KILLED_HALF_WAY, database], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    for path in outlive.home.glob("events.db*"):
        path.chmod(0o600)
    return outlive.home


def test_a_home_whose_making_was_interrupted_could_never_be_opened(half_made: Path) -> None:
    """It was looked at by a reader first, which may not roll back: "it is read-only", for ever."""
    with Manager.open(half_made) as manager:
        agent = manager.spawn(program(half_made, "true"))
        assert manager.wait(agent, timeout=30).state == "COMPLETED"


@pytest.mark.parametrize("command", [("rebuild", "--check"), ("checkpoint",), ("recover",)])
def test_commands_put_such_a_home_right(
    outlive: CommandLine, half_made: Path, command: tuple[str, ...]
) -> None:
    """Those that may write undo what was left; then it is a home where nothing was recorded."""
    done = outlive(*command)
    assert (done.returncode, done.stderr.count("\n") <= 1) == (0, True), done.stderr
    assert outlive("ps").returncode == 0


def test_a_reader_says_what_is_wrong_with_such_a_home(outlive: CommandLine, half_made: Path) -> None:
    """It changes nothing, and names the command that does."""
    before = (half_made / "events.db").read_bytes()
    done = outlive("ps")
    assert (done.returncode, done.stderr.count("\n")) == (7, 1)
    assert "killed half-way" in done.stderr
    assert "`outlive recover`" in done.stderr
    assert (half_made / "events.db").read_bytes() == before
    assert outlive("recover").returncode == 0
