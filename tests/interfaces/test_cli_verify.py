"""What `verify` says of a log that is damaged, of a part that there is not, and of a home that there is not."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.kept import Kept, at

PAGE = 4096


@pytest.fixture
def home(kept: Kept, tmp_path: Path) -> Path:
    """A copy of a home whose agents have ended, with all of its log in one file."""
    path = tmp_path / "home"
    shutil.copytree(kept.outlive.home, path)
    with closing(sqlite3.connect(path / "events.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _verified(home: Path) -> tuple[int, Any, str]:
    code, out = at(home, "verify", "--json")
    first, _, rest = out.partition("\n")
    return code, json.loads(first), rest


def test_a_home_that_is_none_was_intact(tmp_path: Path) -> None:
    """A mistyped path is an error, and so is a file."""
    (tmp_path / "file").write_text("")
    for name in ("none", "file"):
        code, out = at(tmp_path / name, "verify")
        assert (
            code,
            out.startswith(f"outlive: cannot verify {tmp_path / name}: there is no such directory"),
        ) == (1, True)
    (tmp_path / "empty").mkdir()
    assert at(tmp_path / "empty", "verify") == (0, "nothing has been recorded yet\n")


@pytest.mark.parametrize("part", [("5", "3"), ("1", "1000"), ("900", "1000")])
def test_a_part_that_there_is_not_was_intact(home: Path, part: tuple[str, str]) -> None:
    """Nothing was checked, and nothing was wrong with that."""
    code, out = at(home, "verify", "--from", part[0], "--to", part[1])
    assert (code, "the log ends at" in out) == (2, True), out
    assert at(home, "verify", "--from", "3", "--to", "5")[0] == 0


def test_events_before_a_contradicted_checkpoint_were_all_called_good(home: Path) -> None:
    """What follows the last checkpoint that agrees may be other than it was: only those up to it count."""
    path = home / "checkpoints.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2] |= {"hash": "00" * 32, "key": None, "signature": None}
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, found, out = _verified(home)
    wanted = (6, lines[2]["position"], lines[1]["position"])
    assert (code, found["position"], found["checked"]) == wanted
    assert f"known to be as written: {wanted[2]} events before it" in out


def test_wrong_rows_that_are_not_shown_are_counted(home: Path) -> None:
    """Five, and how many more."""
    assert at(home, "rebuild")[0] == 0
    with closing(sqlite3.connect(home / "events.db", isolation_level=None)) as database:
        changed = database.execute("UPDATE timeline SET summary = summary || '!'").rowcount
    code, found, out = _verified(home)
    assert (code, len(found["faults"]), found["position"]) == (6, 6, None)
    assert found["faults"][-1] == f"{changed - 5} more of this kind"
    assert "the events themselves are whole" in out
    assert at(home, "rebuild")[0] == 0


def _cut(path: Path, page: int) -> None:
    os.truncate(path, page * PAGE)


def _overwritten(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xa7" * PAGE)


@pytest.mark.parametrize("damage", [_cut, _overwritten])
def test_damage_anywhere_had_no_position(home: Path, damage: Callable[[Path, int], None]) -> None:
    """At any page: how many rows are whole, and where the damage begins; never the advice to verify."""
    path = home / "events.db"
    content, head = path.read_bytes(), _verified(home)[1]["head"]["position"]
    positions = set()
    for page in range(1, len(content) // PAGE):
        path.write_bytes(content)
        damage(path, page)
        code, found, out = _verified(home)
        assert (code, "run `outlive verify`" in out) == (6, False), out
        if found["position"] is None:
            assert (found["checked"], bool(found["faults"])) == (head, True)
        else:
            assert found["checked"] == found["position"] - 1
            assert (found["problem"], found["position"] <= head) == ("unreadable", True)
            positions.add(found["position"])
    assert {1} < positions
    path.write_bytes(content)
