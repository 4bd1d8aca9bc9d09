"""A living coordinator keeps the projections that follow the log near it, and leaves them at it when it goes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from manager import Manager
from projections.checkpoints import behind
from tests.interfaces.command_line import until
from tests.support import agents


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "events.db")) as connection:
        return connection.execute(query).fetchall()


def test_they_are_near_while_it_lives_and_complete_once_it_has_gone(home: Path) -> None:
    """Nobody asks for it: soon after the last commit nothing is behind; the coordinator's own end is in them, too."""
    with Manager.open(home) as manager:
        manager.spawn(agents.shell(home, "echo no such thing >&2; sleep 1; exit 3"), "x")
        manager.wait("x")
        reader = manager._coordinator.store.reader()
        until(lambda: behind(reader) == 0)
        reader.close()
        ((outcome, code, line),) = _rows(home, "SELECT outcome, exit_code, error_line FROM report_attempts")
        assert (outcome, code, line) == ("FAILED", 3, "no such thing")
    head = _rows(home, "SELECT max(position) FROM events")
    assert _rows(home, "SELECT DISTINCT position FROM projections") == head
    assert _rows(home, "SELECT type FROM timeline ORDER BY position DESC LIMIT 1") == [
        ("COORDINATOR_STOPPED",)
    ]
    assert _rows(home, "SELECT epoch, agents_left, stopped_at IS NULL FROM coordinators") == [(1, 0, 0)]


@pytest.mark.damages
def test_an_event_that_cannot_be_read_disturbs_nobody(home: Path) -> None:
    """The coordinator starts and stops agents, and closes, whatever the background work cannot do."""
    with Manager.open(home) as manager:
        manager.spawn(agents.program(home, "sleep", "600"), "x")
        data = json.dumps({"attempt": "one"})
        with closing(sqlite3.connect(home / "events.db")) as connection, connection:
            (guard,) = connection.execute(
                "SELECT sql FROM sqlite_master WHERE name = 'events_no_update'"
            ).fetchone()
            connection.execute("DROP TRIGGER events_no_update")
            connection.execute("UPDATE events SET data = ? WHERE type = 'RUNNING'", (data,))
            connection.execute(guard)
        assert manager._following is not None
        manager._following.finish()
        assert manager.stop("x").state == "CANCELLED"
