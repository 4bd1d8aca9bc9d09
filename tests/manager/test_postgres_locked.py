"""Tables of the log in PostgreSQL that somebody else keeps locked: whoever waits for them is told, and ends agents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from eventstore.reader import Reader
from eventstore.store import EventStore
from manager import Manager
from tests.manager.test_postgres import outlive
from tests.support.agents import program
from tests.support.processes import eventually, runs

pytestmark = pytest.mark.postgres


@contextmanager
def locked(url: str, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Somebody's session that holds a table for as long as the block lasts."""
    with psycopg.connect(url) as session:
        session.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        yield
        session.rollback()


@pytest.mark.parametrize(
    ("table", "command"),
    [
        ("epochs", ["run", "--", "true"]),
        ("epochs", ["rebuild"]),
        ("events", ["verify"]),
        ("agents", ["recover"]),
        ("agents", ["ps"]),
    ],
)
def test_commands_hung_without_a_word_while_somebody_held_a_table(
    home: Path, url: str, table: str, command: list[str]
) -> None:
    """All that read it say within seconds that it is locked, and where to look."""
    with Manager.open(home, url):
        pass
    with locked(url, table):
        done = outlive(home, url, *command)
        assert (done.returncode, "pg_stat_activity shows" in done.stderr) == (7, True), done
    assert outlive(home, url, *command).returncode == 0


def test_a_kill_without_a_coordinator_ends_the_agent_while_a_lock_is_held(home: Path, url: str) -> None:
    """It ends the agent while the lock is held, and says that the log does not have it yet."""
    with Manager.open(home, url) as manager:
        pid = manager.spawn(program(home, "sleep", "1000"), "kept").pid or 0
    with locked(url, "epochs", "EXCLUSIVE"):
        done = outlive(home, url, "kill", "kept")
        assert (done.returncode, "has been held" in done.stderr) == (7, True), done
        eventually(lambda: not runs(pid), "it is ended")
    assert outlive(home, url, "recover").returncode == 0
    with closing(Reader.open(url)) as reader:
        assert reader.verify().is_intact


def test_a_query_that_merely_takes_long_is_not_cut(url: str) -> None:
    """The limit is on waits for locks alone."""
    with EventStore.open(url, home="home-1", host="host-1"), closing(Reader.open(url)) as reader:
        assert len(reader.rows("SELECT pg_sleep(7)")) == 1
