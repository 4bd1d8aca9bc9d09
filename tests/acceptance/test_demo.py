"""The demo keeps its promises by facts that this test finds for itself: processes, ledger, database, output."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from eventstore import chain
from manager.demo.agents import Stage
from manager.demo.facts import gather
from tests.support.others import MODULES, NOBODY, python_for_others

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 100.0
LAST_LINE = re.compile(r"0 duplicates, (\d+) of (\d+) exit codes known, log of (\d+) events verified")
EXPECTED_EXITS = {"importer": "exit code 7", "victim": "signal 9 (SIGKILL)", "quick": "exit code 0"}

pytestmark = pytest.mark.slow


class Played(NamedTuple):
    """A run of the demo with --keep: what it printed, and the folder it left."""

    lines: list[str]
    folder: Path

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Rows of the log, read with nothing of ours."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.folder}/home/events.db?mode=ro", uri=True)
        ) as db:
            return db.execute(query).fetchall()

    def ledger(self, word: str) -> list[tuple[str, int]]:
        """Agent and pid of the ledger's START or CHILD lines."""
        lines = (self.folder / "ledger").read_text().splitlines()
        return [(line.split()[1], int(line.split()[3])) for line in lines if line.startswith(f"{word} ")]


def _environment(temporary: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OUTLIVE_")}
    return {**kept, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "manager.demo", *arguments]


def _of_folder(temporary: Path) -> list[psutil.Process]:
    """Every process that carries the folder in its environment or arguments: agents, their children, coordinators."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            if any(str(temporary) in word for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A TMPDIR for one demo, which any user may enter; whatever a broken demo leaves there is ended."""
    folder = Path(tempfile.mkdtemp(prefix="demo-test-"))
    yield folder
    for process in _of_folder(folder):
        process.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """One whole run, which must end well."""
    temporary = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        _demo("--keep"), env=_environment(temporary), capture_output=True, text=True, check=False,
        timeout=DEADLINE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    (folder,) = temporary.iterdir()
    return Played(done.stdout.splitlines(), folder)


def test_the_last_line_is_true(played: Played) -> None:
    """As many exits known as agents started, one START line each, and the events that the database holds."""
    said = LAST_LINE.fullmatch(played.lines[-1])
    assert said, played.lines[-1]
    known, exits, events = map(int, said.groups())
    started = [name for name, _ in played.ledger("START")]
    assert known == exits == len(started) == len(set(started)) == 10
    assert [(events,)] == played.rows("SELECT count(*) FROM events")


def test_the_agents_of_the_log_are_those_of_the_ledger(played: Played) -> None:
    """The pid that the log recorded for an agent is the pid that the agent itself wrote down, for each of them."""
    logged = played.rows("SELECT name, pid FROM attempts JOIN agents USING (agent_id, pid)")
    assert sorted(logged) == sorted(played.ledger("START"))


def test_one_coordinator_was_killed_and_another_recovered(played: Played) -> None:
    """Two coordinators started and only the second said goodbye; it re-attached seven and found two ended."""
    counted = {row[0]: row[1] for row in played.rows("SELECT type, count(*) FROM events GROUP BY type")}
    assert (counted["COORDINATOR_STARTED"], counted["COORDINATOR_STOPPED"]) == (2, 1)
    assert counted["REATTACHED"] == 7
    found = played.rows(
        "SELECT count(*) FROM events WHERE type = 'ZOMBIE_REAPED' AND json_extract(data, '$.is_recovered')"
    )
    assert found == [(2,)]


def test_the_table_shows_exits_that_nobody_watched(played: Played) -> None:
    """In the table after the recovery, the agents that ended alone have their exact code or signal."""
    shown = {line.split()[0]: line for line in played.lines if re.search(r" (FAILED|COMPLETED) +1 +- ", line)}
    assert set(shown) == set(EXPECTED_EXITS)
    assert all(shown[name].endswith(exit_) for name, exit_ in EXPECTED_EXITS.items())


def test_the_log_verifies_by_its_published_rule(played: Played) -> None:
    """The hash of every row, computed here from the documented format, is the one that is stored."""
    previous = bytes(32)
    rows = played.rows(f"SELECT hash, {', '.join(chain.ORDER)} FROM events ORDER BY position")
    for stored, *fields in rows:
        leaf = hashlib.sha256(b"\0" + b"".join(map(_field, fields))).digest()
        previous = hashlib.sha256(b"\1" + previous + leaf).digest()
        assert stored == previous


def test_nothing_of_it_runs_afterwards(played: Played) -> None:
    """No process with the demo's folder in its environment or arguments is left: agents, children, grandchildren."""
    assert len(played.ledger("CHILD")) == 4
    assert _of_folder(played.folder) == []


def test_what_it_says_about_looking_around_works(played: Played) -> None:
    """Each command that `--keep` prints can be pasted into a shell and succeeds."""
    commands = [line.strip() for line in played.lines if f"--home {played.folder}" in line]
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            command.replace("outlive --home", "outlive --no-color --home"), shell=True, capture_output=True, text=True,
            check=False, env=_environment(played.folder), timeout=DEADLINE_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, command + done.stderr


def test_a_second_start_of_an_agent_would_be_counted(played: Played, tmp_path: Path) -> None:
    """The zero is counted: one more START line is one duplicate, and an unknown agent's is noticed as well."""
    copy = Path(shutil.copytree(played.folder, tmp_path / "copy"))
    assert gather(Stage(copy)).duplicates == 0
    with (copy / "ledger").open("a") as ledger:
        line = next(line for line in (copy / "ledger").read_text().splitlines() if line.startswith("START"))
        ledger.write(f"{line}\n{line.replace(line.split()[1], 'stranger')}\nEND quick 1 code 9\n")
    facts = gather(Stage(copy))
    assert facts.duplicates == 1
    assert facts.unmatched == ["stranger/1"]
    assert facts.contradicted == ["quick"]


@pytest.mark.damages
def test_a_changed_log_would_not_be_called_verified(played: Played, tmp_path: Path) -> None:
    """The word is earned: with one byte of one event changed, the last line says NOT VERIFIED."""
    copy = Path(shutil.copytree(played.folder, tmp_path / "copy"))
    with contextlib.closing(sqlite3.connect(copy / "home" / "events.db")) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE events SET actor = 'somebody' WHERE position = 5")
        db.commit()
    assert gather(Stage(copy)).line().endswith("NOT VERIFIED")


@pytest.mark.parametrize("moment", ["A coordinator starts", "coordinator is killed", "It stops them all"])
@pytest.mark.parametrize("signum", [signal.SIGINT])
def test_an_interruption_leaves_nothing(temporary: Path, moment: str, signum: int) -> None:
    """Ctrl-C while the first coordinator starts agents, while nobody is there, or during the stop: all are ended."""
    with subprocess.Popen(
        _demo(), env={**_environment(temporary), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        seen = next((line for line in demo.stdout if moment in line), None)
        assert seen is not None
        if moment == "A coordinator starts":
            next(line for line in demo.stdout if "clock" in line)
        demo.send_signal(signum)
        demo.stdout.read()
        assert demo.wait(DEADLINE_SECONDS) == 130
    assert _of_folder(temporary) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.root
def test_any_user_can_play_it(temporary: Path) -> None:
    """Without root and without any right in the checkout it works alike, and leaves its TMPDIR empty."""
    shutil.chown(temporary, NOBODY, NOBODY)
    python = python_for_others()
    if python is None:
        pytest.skip("needs an interpreter and a checkout that other users may read")
    done = subprocess.run(
        [python, "-m", "manager.demo"], cwd="/", capture_output=True, text=True, check=False,
        env={**_environment(temporary), "HOME": "/nonexistent", "PYTHONPATH": MODULES},
        timeout=DEADLINE_SECONDS, user=NOBODY, group=NOBODY, extra_groups=[],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert LAST_LINE.fullmatch(done.stdout.splitlines()[-1])
    assert list(temporary.iterdir()) == []


def _field(value: object) -> bytes:
    if value is None:
        return b"\xff\xff\xff\xff"
    content = value.to_bytes(8, "big") if isinstance(value, int) else str(value).encode()
    return len(content).to_bytes(4, "big") + content
