"""Old events leave the log exported, whole or not at all, wherever the command dies; living agents keep theirs."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from eventstore.reader import Reader
from eventstore.record import Head
from manager import offline
from manager.cli.main import main
from tests.interfaces.command_line import CommandLine
from tests.support.tally import Tally

PART = (
    *("tool.after_draft_named", "tool.after_prune", "store.before_commit", "store.after_commit"),
    *("tool.before_directory", "tool.after_directory", "tool.before_list_removed"),
)
ALL = (
    *(
        f"tool.{place}"
        for place in ("before_draft", "after_draft", "after_draft_written", "after_draft_synced")
    ),
    *(f"tool.{place}" for place in ("after_draft_removed", "before_directory_sync", "after_directory_sync")),
    *(f"store.{place}" for place in ("before_begin", "after_begin", "before_insert", "after_insert")),
    *(
        "store.after_projections",
        "store.before_head",
        "store.after_head",
        "store.before_unlock",
        "store.after_unlock",
    ),
    *("tool.before_directories_sync", "tool.after_directories_sync", "tool.after_list_removed"),
    *("tool.before_prune", "store.before_checkpoint", "store.after_checkpoint", "store.before_close"),
)
POINTS = [*PART, *(pytest.param(point, marks=pytest.mark.faults) for point in ALL)]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose two agents have ended; copied, never changed."""
    directory = tmp_path_factory.mktemp("ended")
    outlive = CommandLine(home=directory / "home", directory=directory)
    for name in ("a", "b"):
        assert outlive("run", "--name", name, "--start-window", "0s", "--", "true").returncode == 0
        assert outlive("wait", name).returncode == 0
    return outlive.home


def _at(home: Path, *arguments: str) -> tuple[int, str]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(["--home", str(home), *arguments])
    return code, out.getvalue()


def _base(home: Path) -> Head:
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        return reader.base()


def _is_whole(home: Path) -> bool:
    return _at(home, "verify")[0] == 0 and _at(home, "rebuild", "--check")[0] == 0


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point(ended: Path, tmp_path: Path, tally: Tally, point: str) -> None:
    """Nothing is gone that is not in a whole export; and the same command again, with another file, does the rest."""
    home, first, second = tmp_path / "home", tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    shutil.copytree(ended, home)
    head = json.loads(_at(home, "verify", "--json")[1])["head"]
    outlive = CommandLine(home=home, directory=tmp_path)
    words = ("prune", "--before", str(head["position"] + 1), "--export")
    done = outlive(*words, str(first), OUTLIVE_CRASH=point)
    assert done.returncode == -9, done.stderr
    assert _is_whole(home)
    base = _base(home)
    if base.position:
        found = offline.read(first)
        assert (found.head[:2], found.events) == (base[:2], base.position)
        assert base.hash.hex() == head["hash"]
        _at(home, "prune", "--before", "1", "--export", str(second))
    else:
        assert len(list((home / "agents").iterdir())) == 2
        assert _at(home, *words, str(second))[0] == 0
        assert offline.read(second).head.hash.hex() == head["hash"]
    assert _is_whole(home)
    assert not list((home / "agents").iterdir())
    assert not list(home.glob("*prune*"))
    assert _base(home).position == head["position"]
    assert outlive("run", "--name", "a", "--start-window", "0s", "--", "true").returncode == 0
    assert _is_whole(home)
    tally("13 prune killed at a crash point")


def test_agents_that_live_keep_all_of_their_history(outlive: CommandLine) -> None:
    """They bound the prune, which says so; once they have ended, theirs goes, too, and the exports join."""
    for name, program in (("old", "true"), ("lives", "sleep 600"), ("young", "true")):
        assert outlive("run", "--name", name, "--start-window", "0s", "--", *program.split()).returncode == 0
        if name != "lives":
            outlive("wait", name)
    files = [outlive.directory / name for name in ("one.jsonl", "two.jsonl")]
    told = outlive.json("prune", "--before", "0s", "--export", str(files[0]))
    assert told["kept_for"] == f"agent/{outlive.json('status', 'lives')['agents'][0]['id']}"
    assert [agent["name"] for agent in outlive.json("ps", "--all")["agents"]] == ["lives", "young"]
    gone = outlive("status", "old")
    assert (gone.returncode, f"before position {told['position']} were pruned" in gone.stderr) == (4, True), (
        gone
    )
    first = json.loads(outlive("export").stdout.splitlines()[0])
    assert (first["from"], first["previous_hash"]) == (told["position"] + 1, _base(outlive.home).hash.hex())
    assert f"after {told['position']} that were pruned, head" in outlive("doctor").stdout
    assert outlive("export", "--from", "1").returncode == 2
    assert outlive("at", "1", "ps").returncode == 2
    assert outlive("verify", "--against", str(files[0])).returncode == 0
    again = outlive.json("prune", "--before", "0s", "--export", str(files[1]))
    assert (again["position"], again["kept_for"], files[1].exists()) == (0, told["kept_for"], False)
    assert outlive("stop", "lives").returncode == 0
    assert _is_whole(outlive.home)
    key = outlive.json("keys", "new", str(outlive.directory / "key.pem"))
    done = outlive("prune", "--before", "0s", "--export", str(files[1]), OUTLIVE_SIGNING_KEY=key["path"])
    assert (done.returncode, "kept" in done.stdout) == (0, True), done.stderr
    assert offline.read(files[1]).signed_by == key["key"]
    assert _is_whole(outlive.home)
    earlier = outlive("verify", "--against", str(files[0]))
    assert (earlier.returncode, "was pruned up to" in earlier.stderr) == (2, True), earlier
    done = outlive("prune", "--before", "99999999", "--export", str(outlive.directory / "all.jsonl"))
    assert (done.returncode, "the log ends at" in done.stderr) == (2, True), done
    one, two = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert one[-1]["hash"] == two[0]["previous_hash"]
    assert two[0]["from"] == one[-1]["position"] + 1
    said = [json.loads(line) for line in outlive("events", "--json").stdout.splitlines()]
    assert said[-1]["type"] == "LOG_PRUNED"
    assert said[-1]["data"]["export_sha256"] == sha256(files[1].read_bytes()).hexdigest()


def test_a_prune_that_the_log_does_not_tell_of_is_found(ended: Path, tmp_path: Path) -> None:
    """Whoever removes events by hand, as far as the triggers allow, has no event that says so."""
    home = tmp_path / "home"
    shutil.copytree(ended, home)
    with closing(sqlite3.connect(home / "events.db", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO pruned SELECT position, hash, recorded_at FROM events WHERE position = 1"
        )
        database.execute("DELETE FROM events WHERE position = 1")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("DELETE FROM events WHERE position = 2")
    code, out = _at(home, "verify")
    assert code == 6
    assert "no event says by whom" in out
    assert _at(home, "prune", "--before", "0s", "--export", str(tmp_path / "x"))[0] == 6
    assert not (tmp_path / "x").exists()


def test_secrets_of_pruned_agents_stayed_where_nobody_could_erase_them(outlive: CommandLine) -> None:
    """Their directories go with their events; those of agents that are kept, and what no prune has listed, stay."""
    words = ("--start-window", "0s", "--env", "TOKEN=hunter2hunter2", "--", "sh", "-c")
    assert outlive("run", "--name", "old", *words, "echo $TOKEN").returncode == 0
    outlive("wait", "old")
    kept = outlive.run("--name", "lives", "--start-window", "0s", "--", "sleep", "600")
    stray = outlive.home / "agents" / ("0" * 16)
    (stray / "1").mkdir(parents=True)
    assert any(b"hunter2" in path.read_bytes() for path in outlive.home.rglob("*") if path.is_file())
    done = outlive("prune", "--before", "0s", "--export", str(outlive.directory / "log.jsonl"))
    assert (done.returncode, "removed 1 directory of agents" in done.stdout) == (0, True), done.stderr
    assert sorted(path.name for path in (outlive.home / "agents").iterdir()) == sorted([stray.name, kept])
    assert not any(b"hunter2" in path.read_bytes() for path in outlive.home.rglob("*") if path.is_file())
    assert outlive("stop", "lives").returncode == 0


def test_directories_that_an_earlier_version_left_stayed_for_ever(ended: Path, tmp_path: Path) -> None:
    """They go with the next prune. One that is younger than what was pruned is evidence of a log that was cut off."""
    home = tmp_path / "home"
    shutil.copytree(ended, home)
    (old, young) = sorted((home / "agents").iterdir())
    assert _at(home, "prune", "--before", "0s", "--export", str(tmp_path / "one"))[0] == 0
    assert not list((home / "agents").iterdir())
    for directory in (old, young):
        shutil.copytree(ended / "agents" / directory.name, directory)
    os.utime(young / "1" / "spec.json")
    code, out = _at(home, "prune", "--before", "0s", "--export", str(tmp_path / "two"))
    assert (code, list((home / "agents").iterdir())) == (0, [young]), out


def test_a_directory_that_cannot_be_removed_is_told_of(ended: Path, tmp_path: Path) -> None:
    """While a shim lives in one, say. The next prune removes it."""
    home = tmp_path / "home"
    shutil.copytree(ended, home)
    lock = next((home / "agents").glob("*/1")) / "lock"
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, out = _at(home, "prune", "--before", "0s", "--export", str(tmp_path / "one"))
        assert (code, "a process of it lives; prune again later" in out) == (1, True), out
        assert list((home / "agents").iterdir()) == [lock.parent.parent]
    code, out = _at(home, "prune", "--before", "0s", "--export", str(tmp_path / "two"))
    assert (code, list((home / "agents").iterdir())) == (0, []), out


def test_a_time_to_come_pruned_all(ended: Path, tmp_path: Path) -> None:
    """`--before` a mistyped year is refused, and nothing is removed."""
    code, out = _at(ended, "prune", "--before", "2999-01-01", "--export", str(tmp_path / "x"))
    assert (code, "that is still to come" in out, (tmp_path / "x").exists()) == (2, True, False), out
    assert _base(ended).position == 0
