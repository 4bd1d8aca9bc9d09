"""Events that were removed, with an event that says they were pruned: who says so besides the log?"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from eventstore import chain
from eventstore.reader import Reader
from eventstore.record import COLUMNS
from manager import offline
from manager.bundling import leaf_of
from tests.interfaces.command_line import CommandLine
from tests.interfaces.kept import Kept, at

pytestmark = pytest.mark.damages


@pytest.fixture
def outlive(kept: Kept, tmp_path: Path) -> CommandLine:
    """On a copy of a home with signed checkpoints whose agents have ended."""
    shutil.copytree(kept.outlive.home, tmp_path / "home")
    return CommandLine(home=tmp_path / "home", directory=tmp_path)


def _forge(home: Path, until: int, **data: object) -> int:
    """Remove what is up to `until` as a prune does, without an export; the position of the event that says so."""
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        base, (last,) = reader.head_at(until), reader.events(after=reader.head().position - 1)
    said = {"position": until, "hash": base.hash.hex(), "events": until, "export": "gone.jsonl"}
    said |= {"export_sha256": "0" * 64, **data}
    row = last._replace(
        position=last.position + 1,
        version=last.version + 1,
        event_id="00000000-0000-4000-8000-000000000000",
        type="LOG_PRUNED",
        schema_version=1,
        data=json.dumps(said),
        previous_hash=last.hash,
    )
    assert last.stream.startswith("home/")
    row = row._replace(hash=chain.link(last.hash, leaf_of(row)))
    with closing(sqlite3.connect(home / "events.db", isolation_level=None)) as database:
        database.execute(f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * 18)})", row)
        database.execute("INSERT INTO pruned VALUES (?, ?, ?)", base)
        database.execute("DELETE FROM events WHERE position <= ?", (until,))
    return row.position


def test_a_deletion_passed_for_a_prune(kept: Kept, outlive: CommandLine) -> None:
    """Nothing outside the log knows of it and no export shows what went: no start believes it, and nothing signs it."""
    forged = _forge(outlive.home, 5)
    wanted = f"removed by {_actor(outlive.home, forged)} with the event at position {forged}"
    for more in ([], ["--key", str(kept.key)], ["--against", str(kept.outlive.home / "checkpoints.jsonl")]):
        code, out = at(outlive.home, "verify", *more)
        assert (code, wanted in out, "nothing outside the log knows" in out) == (6, True, True), out
    before = (outlive.home / "head").read_bytes()
    for words in (("run", "--", "true"), ("rebuild",), ("checkpoint",)):
        done = outlive(*words, OUTLIVE_SIGNING_KEY=str(kept.key))
        assert (done.returncode, wanted in done.stderr) == (6, True), done
    assert (outlive.home / "head").read_bytes() == before
    assert (outlive.home / "checkpoints.jsonl").read_bytes() == (
        kept.outlive.home / "checkpoints.jsonl"
    ).read_bytes()


def test_an_export_of_other_events_vouches_for_no_deletion(outlive: CommandLine) -> None:
    """It must have what went from the first event on, not only the digest that the forged event names."""
    export = outlive.home / "gone.jsonl"
    done = outlive("export", "--from", "3", "--to", "5", "--output", str(export))
    assert done.returncode == 0, done.stderr
    digest = sha256(export.read_bytes()).hexdigest()
    _forge(outlive.home, 5, export_sha256=digest, events=3)
    done = outlive("run", "--", "true")
    assert (done.returncode, "begins at 3, and nothing says" in done.stderr) == (6, True), done
    assert at(outlive.home, "verify")[0] == 6


@pytest.mark.parametrize("point", ["store.before_head", "tool.before_list_removed"])
def test_a_prune_that_was_killed_is_believed_for_its_export(outlive: CommandLine, point: str) -> None:
    """The next start goes on, wherever the file was put; without it the prune is a deletion like any other."""
    export = outlive.directory / "elsewhere" / "log.jsonl"
    export.parent.mkdir()
    done = outlive("prune", "--before", "0s", "--export", str(export), OUTLIVE_CRASH=point)
    assert done.returncode == -9, done.stderr
    assert at(outlive.home, "verify")[0] == 0
    if point == "store.before_head":
        export.rename(outlive.directory / "other")
        done = outlive("run", "--", "true")
        assert (done.returncode, "its export is not there" in done.stderr) == (6, True), done
        assert at(outlive.home, "verify")[0] == 6
        (outlive.directory / "other").rename(outlive.home / export.name)
    assert outlive("run", "--start-window", "0s", "--", "true").returncode == 0
    (outlive.home / export.name).unlink(missing_ok=True)
    assert outlive("run", "--start-window", "0s", "--", "true").returncode == 0
    assert at(outlive.home, "verify")[0] == 0


def test_what_was_pruned_is_told_and_must_be_signed_where_a_key_is_asked_for(
    kept: Kept, outlive: CommandLine
) -> None:
    """Until a signed checkpoint covers it, its export vouches, where that is at hand."""
    export, key = outlive.directory / "log.jsonl", ("--key", str(kept.key))
    told = outlive.json("prune", "--before", "0s", "--export", str(export))
    code, out = at(outlive.home, "verify")
    wanted = f"pruned: {told['events']} events up to {told['position']}, removed by "
    assert (code, wanted in out, "no signed checkpoint covers that event" in out) == (0, True, True), out
    code, out = at(outlive.home, "verify", *key)
    assert (code, "not signed: it lacks" in out) == (6, True), out
    shutil.copy(export, outlive.home)
    assert at(outlive.home, "verify", *key)[0] == 0
    (outlive.home / export.name).unlink()
    assert outlive("checkpoint", OUTLIVE_SIGNING_KEY=str(kept.key)).returncode == 0
    code, out = at(outlive.home, "verify", *key)
    assert (code, "; a signed checkpoint covers that event" in out) == (0, True), out
    [pruned] = json.loads(at(outlive.home, "verify", "--json")[1])["pruned"]
    assert pruned["by"]["actor"] == _actor(outlive.home, pruned["by"]["position"])
    assert {name: pruned[name] for name in ("position", "events", "export", "export_sha256", "signed")} == {
        "position": told["position"],
        "events": offline.read(export).events,
        "export": export.name,
        "export_sha256": told["sha256"],
        "signed": True,
    }


def _actor(home: Path, position: int) -> str:
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        [event] = reader.events(after=position - 1, limit=1)
    return event.actor
