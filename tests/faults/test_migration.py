"""A home of release 0.1: refused until it is upgraded, and upgraded whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore.crashpoints import POINTS
from eventstore.revision import HEAD
from tests.faults.rooms import small_home
from tests.faults.run import SETTLE_SECONDS, Run
from tests.faults.syscalls import KILLED_AT
from tests.support.earlier import REVISION, as_of_release_0_1, golden_home, revision, rows, schema
from tests.support.preloaded import COMMAND
from tests.support.processes import eventually
from tests.support.tally import Tally

pytestmark = pytest.mark.timeout(300)  # but for those that take every place

UPGRADE = ("db", "upgrade")
NAME = "kept"
OUTCOMES = ["COMPLETED", "FAILED", "FAILED", "CANCELLED", "KILLED", "FAILED", "COMPLETED"]
REFUSED = (
    ["ps"],
    ["events"],
    ["status", "survivor"],
    ["verify"],
    ["recover"],
    ["rebuild"],
    ["stop", "survivor"],
)


def test_a_log_of_release_0_1_is_upgraded_and_keeps_every_event(tmp_path: Path, tally: Tally) -> None:
    """Each command names the one to run, and changes nothing; after it the rows are what the log, untouched, says."""
    with Run.create(tmp_path, seed=1) as run:
        golden_home(run.home)
        before = rows(run.home)
        for command in (["run", "--name", "late", "--", "true"], *REFUSED):
            done = run.outlive(*command)
            assert done.returncode == 7, done
            assert "run `outlive db upgrade`" in done.stderr, done
        assert "run `outlive db upgrade`" in run.outlive("doctor").stdout
        assert (revision(run.home), rows(run.home)) == (REVISION, before)
        assert run.outlive(*UPGRADE).stdout == f"{REVISION} → {HEAD}\n"
        assert rows(run.home) == before
        assert run.outlive("verify").returncode == 0
        assert run.outlive("rebuild", "--check").returncode == 0
        shown = json.loads(run.outlive("ps", "--all", "--json").stdout)["agents"]
        assert sorted(agent["state"] for agent in shown) == sorted(OUTCOMES)
        assert run.outlive("run", "--name", "completed", "--", "true").returncode == 0
        assert run.outlive("verify").returncode == 0
        assert rows(run.home)[: len(before)] == before
    tally("23 log of release 0.1", runs=2 + len(REFUSED))


def test_an_upgrade_needs_a_home_that_nobody_holds(tmp_path: Path, tally: Tally) -> None:
    """A coordinator believes in the schema that it opened: it is named, and must go first."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            _set_revision(run.home, REVISION)
            done = run.outlive(*UPGRADE)
            assert done.returncode == 7, done
            assert f"process {coordinator.pid}" in done.stderr, done
            assert revision(run.home) == REVISION
            _set_revision(run.home, HEAD)
        assert run.outlive(*UPGRADE).stdout == f"{HEAD}\t(nothing to do)\n"
    tally("23 upgrade under a coordinator")


def test_an_upgrade_that_ended_a_holder_left_no_word_of_it(tmp_path: Path) -> None:
    """COORDINATOR_STARTED says who was ended, and by whom, and that the upgrade then let go of the home."""
    with Run.create(tmp_path, seed=1) as run:
        coordinator = run.coordinator()
        os.kill(coordinator.pid, signal.SIGSTOP)
        as_of_release_0_1(run.home)
        done = run.outlive(*UPGRADE, "--takeover")
        assert f"ended process {coordinator.pid}" in done.stderr, done
        assert coordinator.leave() == -signal.SIGKILL
        *_, started, stopped = map(json.loads, run.outlive("events", "--json").stdout.splitlines())
        assert (started["type"], stopped["type"]) == ("COORDINATOR_STARTED", "COORDINATOR_STOPPED")
        assert started["data"]["taken_over_from"] == coordinator.pid
        assert started["actor"] == f"uid:{os.getuid()}/cli"
        assert (stopped["data"]["epoch"], stopped["data"]["agents_left"]) == (started["data"]["epoch"], 0)
        assert run.outlive("verify").returncode == 0


FULL = (pytest.mark.faults, pytest.mark.timeout(3600))
AROUND_IT = ("store.after_lock", "store.before_migration", "store.after_migration", "store.after_creation")
POINTS_OF_UPGRADE = sorted(point for point in POINTS if point.startswith("store."))


@pytest.mark.parametrize("points", [AROUND_IT, pytest.param(POINTS_OF_UPGRADE, marks=FULL)])
def test_an_upgrade_killed_at_a_crash_point(tmp_path: Path, tally: Tally, points: Sequence[str]) -> None:
    """It has happened or not, and the next one ends it; the agent runs on and is known again."""
    with Run.create(tmp_path, seed=1) as run, _agent_of_release_0_1(run) as home:
        runs = 0
        for point in points:
            for number in range(1, 50):
                done = run.outlive(*UPGRADE, OUTLIVE_CRASH=f"{point}:{number}")
                runs += done.returncode == -9
                home.is_whole_and_restored()
                if done.returncode != -9:
                    break
        assert runs >= len(AROUND_IT)
    tally("23 upgrade killed at a crash point", runs=runs)


@pytest.mark.strace
@pytest.mark.parametrize("share", [50, pytest.param(1, marks=FULL)])
def test_an_upgrade_killed_at_a_system_call(tmp_path: Path, tally: Tally, share: int) -> None:
    """The same at the K-th call of a kind on the files of the home."""
    with Run.create(tmp_path, seed=1) as run, _agent_of_release_0_1(run) as home:
        output = run.path / "calls"
        _traced(run, output, [])
        counted = re.findall(r"^\d+ +(\w+)\(", output.read_text(), re.MULTILINE)
        home.is_whole_and_restored()
        places = [(call, number) for call in KILLED_AT for number in range(1, counted.count(call) + 1)]
        assert len(places) > 40
        runs = 0
        for call, number in places[share // 2 :: share]:
            done = _traced(run, output, ["-e", f"inject={call}:signal=KILL:when={number}"])
            runs += done.returncode != 0
            home.is_whole_and_restored()
    tally("23 upgrade killed at a system call", runs=runs)


@pytest.mark.root
@pytest.mark.parametrize("spares", [(0, 12, 24), pytest.param(range(80), marks=FULL)])
def test_an_upgrade_on_a_full_disk(tmp_path: Path, tally: Tally, spares: Sequence[int]) -> None:
    """It says so and leaves the log as it was; with room it is done."""
    with Run.create(tmp_path, seed=1) as run, small_home(run) as room, _agent_of_release_0_1(run) as home:
        refused = 0
        for spare in spares:
            room.fill(spare)
            done = run.outlive(*UPGRADE)
            room.empty()
            refused += done.returncode != 0
            assert done.returncode == 0 or done.stderr.startswith("outlive: cannot "), done
            home.is_whole_and_restored()
        assert refused
    tally("23 upgrade on a full disk", runs=len(spares), refused=refused)


def test_two_upgrades_at_once(tmp_path: Path, tally: Tally) -> None:
    """One of them does it; the other finds it done, or says who is at it."""
    with Run.create(tmp_path, seed=1) as run, _agent_of_release_0_1(run):
        command = [sys.executable, "-m", COMMAND, "--home", str(run.home), *UPGRADE]
        started = [
            subprocess.Popen(
                command, env=run.variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        said = [(*process.communicate(timeout=SETTLE_SECONDS), process.returncode) for process in started]
        assert sum(out == f"{REVISION} → {HEAD}\n" for out, _, _ in said) == 1, said
        for out, error, code in said:
            assert code == 0 or (code == 7 and "holds it" in error), (out, error, code)
        assert revision(run.home) == HEAD
    tally("23 upgrades at once", runs=3)


class _OldHome:
    """The home of a run as release 0.1 left it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        as_of_release_0_1(run.home)
        self._rows = rows(run.home)
        self._schema = schema(run.home)
        self._copy = run.path / "events.db.0.1"
        shutil.copy(run.home / "events.db", self._copy)

    def is_whole_and_restored(self) -> None:
        """Every event is there, in a whole schema of one release or the other; then it is that of 0.1 again."""
        home = self._run.home
        assert rows(home) == self._rows
        found = revision(home), schema(home)
        done = self._run.outlive(*UPGRADE)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert rows(home) == self._rows
        wholes = (REVISION, self._schema), (HEAD, schema(home))
        assert found in wholes
        for path in home.glob("events.db-*"):
            path.unlink()
        shutil.copy(self._copy, home / "events.db")


@contextmanager
def _agent_of_release_0_1(run: Run) -> Iterator[_OldHome]:
    """An agent that was started by that release runs all the time; after the upgrade it ends, and its code is known."""
    with run.coordinator() as coordinator:
        [agent] = coordinator.spawn(run.agent("--beat"), names=[NAME])
        [pid] = [int(words[3]) for words in run.told_by_agents()]
    yield _OldHome(run)
    assert run.outlive(*UPGRADE).returncode == 0
    assert run.outlive("verify").returncode == 0
    with run.coordinator() as coordinator:
        assert [body["attempt"] for body in run.bodies("REATTACHED")] == [1]
        beats = len(run.told_by_agents("BEAT"))
        eventually(lambda: len(run.told_by_agents("BEAT")) > beats, "it runs on")
        run.kill("agent", pid, 15, agent=agent)
        done = coordinator.ask("wait", agents=[agent], timeout=SETTLE_SECONDS)
        assert done["answer"] == "ack", done
    [end] = run.bodies("ZOMBIE_REAPED")
    assert end["exit"] == {"kind": "code", "code": 0}
    run.judge()


def _traced(run: Run, output: Path, injection: list[str]) -> subprocess.CompletedProcess[Any]:
    """An upgrade under strace, of which it tells the calls that are about files of the home."""
    names = (
        "events.db",
        "events.db-wal",
        "events.db-shm",
        "events.db-journal",
        "events.db.lock",
        "events.db.queue",
    )
    paths = [
        option for name in (*names, "lock", "head", "home.json") for option in ("-P", str(run.home / name))
    ]
    command = [sys.executable, "-m", COMMAND, "--home", str(run.home), *UPGRADE]
    return subprocess.run(
        ["strace", "-f", "-o", output, *paths, *injection, *command],
        env=run.variables(),
        capture_output=True,
        check=False,
        timeout=SETTLE_SECONDS,
    )


def _set_revision(home: Path, revision: str) -> None:
    with closing(sqlite3.connect(home / "events.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
