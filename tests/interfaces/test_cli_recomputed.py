"""A row that was changed with the hashes of all after it: the chain is whole, and not the one that was written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import chain
from eventstore.reader import Reader
from manager.bundling import leaf_of
from tests.interfaces.kept import Kept, at, stranger

pytestmark = pytest.mark.damages


@pytest.fixture
def home(kept: Kept, tmp_path: Path) -> Path:
    """A copy of a home whose agents have ended."""
    shutil.copytree(kept.outlive.home, tmp_path / "home")
    return tmp_path / "home"


def _recompute(home: Path, position: int, **columns: str) -> None:
    """Change a row, and compute it and all after it anew."""
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        rows = list(reader.events(after=position - 1))
        before = reader.head_at(position - 1).hash
    rows[0] = rows[0]._replace(**columns)  # type: ignore[arg-type]
    with closing(sqlite3.connect(home / "events.db")) as database, database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for row in rows:
            previous, before = before, chain.link(before, leaf_of(row))
            database.execute(
                "UPDATE events SET actor = ?, data = ?, previous_hash = ?, hash = ? WHERE position = ?",
                (row.actor, row.data, previous, before, row.position),
            )
        for _, text in triggers:
            database.execute(text)


def _checkpointed(home: Path) -> list[int]:
    lines = (home / "checkpoints.jsonl").read_text().splitlines()
    return sorted({json.loads(line)["position"] for line in lines})


def test_a_part_of_a_log_that_was_recomputed_was_intact(home: Path) -> None:
    """It is held against the next that is known after it; what is before the change is as it was."""
    first, *_, last = _checkpointed(home)
    assert at(home, "verify", "--from", str(first + 1), "--to", str(first + 2))[0] == 0
    _recompute(home, first + 2, actor="nobody")
    for until in (first + 2, last - 1, last):
        code, out = at(home, "verify", "--from", str(first + 1), "--to", str(until))
        assert (code, "intact" in out, "is not what it was when the log had come to" in out) == (
            6,
            False,
            True,
        )
    assert at(home, "verify", "--from", "1", "--to", str(first))[0] == 0


def test_the_first_row_that_an_export_has_otherwise_was_not_named(kept: Kept, home: Path) -> None:
    """But the next checkpoint after it; an export knows each row."""
    first, second, *_ = _checkpointed(home)
    changed = first + 1
    assert changed < second
    _recompute(home, changed, actor="nobody")
    assert json.loads(at(home, "verify", "--json")[1].splitlines()[0])["position"] == second
    code, out = at(home, "verify", "--against", str(kept.export))
    assert (code, f"cannot trust the log from position {changed} on: another log" in out) == (6, True), out
    assert f"known to be as written: {first} events before it" in out


def test_data_of_another_shape_was_told_in_pages_of_another_program(home: Path) -> None:
    """One line that names the event, what is wrong, and what to do."""
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        event = next(reader.events(types=("ZOMBIE_REAPED",)))
    _recompute(home, event.position, data='{"exit": 3}')
    with closing(sqlite3.connect(home / "events.db")) as database, database:
        database.execute("DELETE FROM projections WHERE name <> 'agents'")
    for path in ("head", "checkpoints.jsonl"):
        (home / path).unlink()
    identity = json.loads((home / "home.json").read_text())
    (home / "home.json").write_text(json.dumps({**identity, "head": False}))
    wanted = (
        f"cannot read the ZOMBIE_REAPED event at position {event.position}: attempt: Field required (and "
    )
    code, out = at(home, "rebuild")
    assert (code, wanted in out, out.count("\n")) == (6, True, 1), out
    out = at(home, "report", "failures")[1]
    assert (wanted in out, "pydantic" in out) == (True, False), out


def test_a_name_that_is_there_twice_was_whole(kept: Kept, tmp_path: Path) -> None:
    """A reader that takes the first value, and one that takes the last, were told of another actor."""
    changed = tmp_path / "changed.jsonl"
    lines = kept.export.read_text().splitlines()
    lines[3] = lines[3].replace('"actor":', '"actor":"nobody","actor":', 1)
    assert "nobody" in lines[3]
    changed.write_text("".join(f"{line}\n" for line in lines))
    code, out = at(tmp_path, "verify", "--bundle", str(changed))
    assert (code, "a line has 'actor' twice" in out, stranger(changed)[0]) == (6, True, False), out
