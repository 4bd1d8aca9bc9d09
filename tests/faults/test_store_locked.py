"""Somebody holds the log: who wants to write waits for a while, then is told so; exits and stops are recorded later."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.run import SETTLE_SECONDS, Run
from tests.faults.sweeps import sweep
from tests.support.preloaded import ROOT
from tests.support.processes import eventually
from tests.support.tally import Tally

HOLDER = """
import fcntl, os, sqlite3, sys
database, *ways = sys.argv[1:]
kept = []
for way in ways:
    if way in ("lock", "queue"):
        kept.append(os.open(f"{database}.{way}", os.O_RDWR | os.O_CREAT, 0o600))
        fcntl.flock(kept[-1], fcntl.LOCK_EX)
        continue
    connection = sqlite3.connect(database, isolation_level=None, timeout=60)
    kept.append(connection)
    if way == "ALONE":
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        way = "EXCLUSIVE"
    if way == "READ":
        connection.execute("BEGIN")
        kept.append(connection.execute("SELECT count(*) FROM events").fetchone())
    else:
        connection.execute(f"BEGIN {way}")
print("held", flush=True)
sys.stdin.readline()
"""
WRITER = """
import sys
from eventstore.store import EventStore
from projections.agents import AgentsProjection
with EventStore.open(f"sqlite:///{sys.argv[1]}", home="h", host="x", inline=[AgentsProjection()]) as store:
    with store.write():
        pass
"""
REASONS = "has been held for|keeps it locked"
WAYS = ["EXCLUSIVE", "IMMEDIATE", "lock", "queue", "lock+IMMEDIATE", "queue+lock"]


@contextmanager
def held(run: Run, *ways: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the log in these ways."""
    command = [sys.executable, "-c", HOLDER, str(run.home / "events.db"), *ways]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        run.fault("locked", "store", pid=holder.pid, ways=ways)
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.parametrize("ways", sweep([], WAYS))
def test_a_held_log_refuses_starts_and_loses_nothing(tmp_path: Path, tally: Tally, ways: str) -> None:
    """A start is refused after a while; a stop and an exit of that time are recorded when it is free again."""
    with Run.create(tmp_path, seed=len(ways)) as run:
        with run.coordinator() as coordinator:
            stopped, leaver, _ = coordinator.spawn(
                run.agent(), run.agent("--exit-after", "0.5", "--code", "7"), run.agent("--beat")
            )
            with held(run, *ways.split("+")):
                start = coordinator.ask("spawn", items=[{"name": "late", "spec": run.agent()}])
                assert (start["answer"], start["agents"]) == ("error", []), start
                assert re.search(REASONS, start["error"]), start
                stop = coordinator.send("stop", agents=[stopped], wait=False)
                eventually(lambda: len(run.told_by_agents("END")) == 2, "one is stopped, one ends by itself")
                assert run.outlive("ps").returncode == 0
            coordinator.answer(stop)
            done = coordinator.ask("wait", agents=[stopped, leaver], timeout=SETTLE_SECONDS)
            assert done["answer"] == "ack", done
            coordinator.spawn(run.agent("--exit-after", "0.1"))
        names = [body["name"] for body in run.bodies("SPAWNING")]
        assert "late" not in names, names
        run.judge()
        tally("12 log held by somebody")


@pytest.mark.parametrize("ways", sweep(["lock"], WAYS))
def test_commands_meet_a_held_log(tmp_path: Path, tally: Tally, ways: str) -> None:
    """Without a coordinator they wait once, not at each step: a start is refused, a stop is done and recorded later."""
    with Run.create(tmp_path, seed=len(ways)) as run:
        run.outlive("run", "--name", "it", "--", *run.program())
        with held(run, *ways.split("+")):
            start = run.outlive("run", "--", "true")
            assert start.returncode == 7, start
            assert re.search(f"^outlive: cannot .*({REASONS})", start.stderr), start.stderr
            for command in (["ps"], ["events"], ["status", "it"], ["verify"]):
                assert run.outlive(*command).returncode == 0
            stop = run.outlive("stop", "it", "--reason", "release 7")
            assert stop.returncode == 7, stop
            assert re.search(f"^outlive: cannot record that it was stopped: .*({REASONS})", stop.stderr), stop
            assert len(run.told_by_agents("END")) == 1
            assert run.outlive("status", "it").returncode == 3
        again = run.outlive("stop", "it")
        assert again.returncode == 0, again
        assert [body["reason"] for body in run.bodies("STOP_REQUESTED")] == ["release 7"]
        assert run.bodies("CANCELLED")
        run.judge()
        tally("12 commands and a log held by somebody")


def test_a_long_reader_holds_up_nobody(tmp_path: Path, tally: Tally) -> None:
    """While somebody reads an old state of the log, starts, stops and exits are recorded as ever."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            coordinator.spawn(run.agent("--beat"))
            with held(run, "READ"):
                agents = coordinator.spawn(run.agent(), run.agent("--exit-after", "0.2", "--code", "3"))
                assert coordinator.ask("stop", agents=agents[:1])["answer"] == "ack"
                assert coordinator.ask("wait", agents=agents, timeout=SETTLE_SECONDS)["answer"] == "ack"
                assert len(run.bodies("ZOMBIE_REAPED")) == 2
        run.judge()
        tally("12 long reader")


@pytest.mark.faults
@pytest.mark.parametrize("point", ["store.after_begin", "store.before_commit", "store.after_lock"])
def test_a_writer_is_stopped_in_the_middle(tmp_path: Path, tally: Tally, point: str) -> None:
    """A migration or rebuild beside a coordinator that is stopped holds it up for a while only; then it goes on."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            stopped, leaver = coordinator.spawn(run.agent(), run.agent("--exit-after", "0.5", "--code", "7"))
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(run.home / "events.db")],
                env=run.variables({"OUTLIVE_STOP": f"{point}:1:{run.path / 'stopped'}"}),
                cwd=ROOT,
            )
            eventually((run.path / "stopped").exists, "the writer is stopped")
            run.fault("locked", "store", pid=writer.pid, point=point)
            start = coordinator.ask("spawn", items=[{"name": "late", "spec": run.agent()}])
            assert start["answer"] == "error", start
            assert re.search(REASONS, start["error"]), start
            stop = coordinator.send("stop", agents=[stopped], wait=False)
            eventually(lambda: len(run.told_by_agents("END")) == 2, "one is stopped, one ends by itself")
            writer.send_signal(signal.SIGCONT)
            assert writer.wait(60) == 0
            coordinator.answer(stop)
            done = coordinator.ask("wait", agents=[stopped, leaver], timeout=SETTLE_SECONDS)
            assert done["answer"] == "ack", done
        run.judge()
        tally("12 stopped writer")
