"""What a home knows of its log without the log: where any of it is gone, no agent is started, and none is lost."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import StoreDamaged
from eventstore.headfile import HeadFile
from manager import AgentSpec, Manager
from tests.support import story
from tests.support.promises import clean_up

SPEC = AgentSpec(command=("sh", "-c", "exit 0"), cwd="/", start_window_seconds=0.0)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home in which one agent has ended."""
    place = tmp_path / "home"
    with Manager.open(place) as manager:
        manager.spawn(SPEC, "first")
        manager.wait("first")
    yield place
    clean_up(place)


def _as_of_an_older_release(home: Path) -> None:
    (home / "head").unlink()
    content = json.loads((home / "home.json").read_text())
    del content["head"]
    (home / "home.json").write_text(json.dumps(content))


def _position(home: Path) -> int:
    with sqlite3.connect(home / "events.db") as database:
        return int(database.execute("SELECT max(position) FROM events").fetchone()[0])


def _cut(home: Path, position: int) -> None:
    with sqlite3.connect(home / "events.db") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM events WHERE position > ?", (position,))


def test_a_home_keeps_the_head_of_its_log(home: Path) -> None:
    """After every coordinator the file names the last event, and home.json says that there is such a file."""
    found = HeadFile(home / "head").read()
    assert found is not None
    assert found.position == _position(home)
    assert json.loads((home / "home.json").read_text())["head"] is True


def test_a_home_of_an_older_release_gets_a_head(home: Path) -> None:
    """A whole log without the file is adopted once; from then on a missing file is damage."""
    before = json.loads((home / "home.json").read_text())
    _as_of_an_older_release(home)
    with Manager.open(home) as manager:
        assert [status.name for status in manager.statuses(all=True)] == ["first"]
    found = HeadFile(home / "head").read()
    assert found is not None
    assert found.position == _position(home)
    assert json.loads((home / "home.json").read_text()) == before
    (home / "head").unlink()
    with pytest.raises(StoreDamaged, match=r"home/head, which says how far it had come, is gone"):
        Manager.open(home)
    assert not (home / "head").exists()


@pytest.mark.damages
def test_a_log_that_lost_a_start_is_not_adopted(home: Path) -> None:
    """A directory that the log does not know was made after its SPAWNING: the log's end was cut off."""
    _as_of_an_older_release(home)
    _cut(home, 1)
    with pytest.raises(StoreDamaged, match=r"it ends at 1 and does not know agents/[0-9a-f]{16}/1"):
        Manager.open(home)
    assert _position(home) == 1
    assert not (home / "head").exists()


@pytest.mark.damages
def test_a_log_that_is_not_whole_is_not_adopted(home: Path) -> None:
    """However long it is: all of it is verified before its end is taken for granted."""
    _as_of_an_older_release(home)
    with sqlite3.connect(home / "events.db") as database:
        database.execute("DROP TRIGGER events_no_update")
        database.execute("UPDATE events SET actor = 'x' WHERE position = 2")
    with pytest.raises(StoreDamaged, match="from position 2 on"):
        Manager.open(home)
    assert not (home / "head").exists()


def test_a_removed_database_is_missed_by_whoever_reads_or_writes(home: Path) -> None:
    """Nothing begins anew where a log had been, even when the directories of its agents are gone, too."""
    (home / "events.db").unlink()
    shutil.rmtree(home / "agents")
    with pytest.raises(StoreDamaged, match="there is none, and it had come to position"):
        Manager.open(home)
    assert not (home / "events.db").exists()


def test_an_older_copy_of_the_database_starts_nothing(home: Path) -> None:
    """The agents that an older copy of the database does not know run on, and none is started."""
    copy = home.with_name("copy")
    shutil.copytree(home, copy)
    with Manager.open(home) as manager:
        mark = {story.MARK: str(home)}
        manager.spawn(AgentSpec(command=("sleep", "1000"), cwd="/", env=mark), "second")
        pid = manager.status("second").pid
    for name in ("events.db", "events.db-wal", "events.db-shm"):
        (home / name).unlink(missing_ok=True)
        if (copy / name).exists():
            shutil.copy(copy / name, home / name)
    with pytest.raises(StoreDamaged, match="tail missing"):
        Manager.open(home)
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\x001000")
    assert len(list((home / "agents").glob("*/*"))) == 2
