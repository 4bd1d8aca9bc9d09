"""The comparison that follows every test can fail."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from manager import Manager
from tests.support.projected import wrong_rows


@pytest.mark.damages
def test_rows_that_differ_are_found_below_a_directory(tmp_path: Path) -> None:
    """A home somewhere below: silent as its coordinator left it, named once a row is not what the log says."""
    home = tmp_path / "deeper" / "home"
    with Manager.open(home, actor="test"):
        pass
    assert not wrong_rows(tmp_path)
    with closing(sqlite3.connect(home / "events.db")) as database, database:
        database.execute("UPDATE projections SET position = 0 WHERE name = 'agents'")
    (line,) = wrong_rows(tmp_path)
    assert line.startswith(f"{home}: ")
