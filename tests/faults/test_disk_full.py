"""The disk is full, to the last byte or inode, or has room for a few more only: whatever is done then is recorded
first, or refused with the reason; running agents do not notice; with room again all is caught up, no exit lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.faults.rooms import Lack, small_home
from tests.faults.run import SETTLE_SECONDS, Run
from tests.faults.sweeps import sweep
from tests.support.processes import eventually
from tests.support.promises import living
from tests.support.tally import Tally

pytestmark = pytest.mark.root

NAME = "it"
READING = (
    ("ps", "--all"),
    ("events",),
    ("status", NAME),
    ("health", NAME),
    ("logs", NAME),
    ("verify",),
    ("doctor",),
    ("rebuild", "--check"),
)
OURS = re.compile(
    r"(events\.db(-wal|-shm|\.lock|\.queue)?|head|checkpoints\.jsonl|home\.json|lock|control\.sock|agents|filler)"
)
FLOOD = ["sh", "-c", "while :; do yes; sleep 0.1; done"]
SPARE = {"bytes": range(24), "inodes": range(16)}
EVERY = [(lack, spare) for lack, spares in SPARE.items() for spare in spares]


def reads(run: Run) -> None:
    """Whatever reads a home shows what is there, or says why it cannot."""
    for command in READING:
        _says_why(run.outlive(*command))


def _says_why(done: subprocess.CompletedProcess[str]) -> None:
    assert "Traceback" not in done.stderr, done.stderr
    assert "unexpected" not in done.stderr, done.stderr
    assert "same ids" not in done.stderr, done.stderr
    if done.returncode:
        assert done.returncode in (1, 3, 4, 5, 7, 124), (done.returncode, done.stderr)
        assert re.search("^outlive: cannot .*; ", done.stderr, re.MULTILINE) or done.stdout, done


def _nothing_is_left(run: Run) -> None:
    """No half file lies about, and no directory of an agent that the log does not know."""
    assert [name for name in os.listdir(run.home) if not OURS.fullmatch(name)] == []
    known = (
        set() if not (run.home / "events.db").exists() else {e["directory"] for e in run.bodies("SPAWNING")}
    )
    found = set(os.listdir(run.home / "agents")) if (run.home / "agents").exists() else set()
    assert found <= {directory.split("/")[1] for directory in known}


@pytest.mark.parametrize(("lack", "spare"), sweep([("bytes", 0), ("inodes", 3)], EVERY))
def test_a_home_is_opened(tmp_path: Path, tally: Tally, lack: Lack, spare: int) -> None:
    """A new home and its first agent: it runs and is on record, or it is said why not and nothing is left."""
    with Run.create(tmp_path, seed=spare) as run, small_home(run, lack) as room:
        room.fill(spare)
        done = run.outlive("run", "--name", NAME, "--", *run.program("--exit-after", "0.1"))
        _says_why(done)
        reads(run)
        room.empty()
        again = run.outlive("run", "--name", "next", "--", *run.program("--exit-after", "0.1"))
        assert again.returncode == 0, again.stderr
        _nothing_is_left(run)
        run.judge()
        tally("10 disk full: a home is opened")


@pytest.mark.parametrize(("lack", "spare"), sweep([("bytes", 0), ("inodes", 5)], EVERY))
def test_agents_are_started_stopped_and_end(tmp_path: Path, tally: Tally, lack: Lack, spare: int) -> None:
    """A start is recorded first or refused; a stop is done; an exit waits; then all of it is on record."""
    with Run.create(tmp_path, seed=spare) as run, small_home(run, lack) as room:
        with run.coordinator() as coordinator:
            stopped, leaver, keeper = coordinator.spawn(
                run.agent(),
                run.agent("--exit-after", "0.5", "--code", "7"),
                run.agent("--beat"),
                names=["stopped"],
            )
            room.fill(spare)
            start = coordinator.ask("spawn", items=[{"name": NAME, "spec": run.agent()}])
            _is_reasoned(start)
            _says_why(run.outlive("run", "--name", "asked", "--", *run.program("--exit-after", "0.1")))
            stop = coordinator.send("stop", agents=[stopped], wait=False)
            eventually(lambda: len(_ended(run, stopped, leaver)) == 2, "one is stopped, one ends by itself")
            reads(run)
            room.empty()
            _is_reasoned(coordinator.answer(stop))
            assert (
                coordinator.ask("wait", agents=[stopped, leaver], timeout=SETTLE_SECONDS)["answer"] == "ack"
            )
            coordinator.spawn(run.agent("--exit-after", "0.1"), names=["next"])
            _nothing_is_left(run)
        assert _types(run, stopped)[3:] == ["STOP_REQUESTED", "SIGTERM_SENT", "ZOMBIE_REAPED", "CANCELLED"]
        assert _types(run, leaver)[-2:] == ["ZOMBIE_REAPED", "FAILED"]
        assert _types(run, keeper)[-1] in ("RUNNING", "HEALTH_CHANGED")
        run.judge()
        tally("10 disk full: start, stop, exit")


@pytest.mark.parametrize(("lack", "spare"), sweep([("bytes", 6)], EVERY))
def test_a_coordinator_is_killed_and_another_comes(
    tmp_path: Path, tally: Tally, lack: Lack, spare: int
) -> None:
    """One that comes while it is full opens, or says why not; the next one with room finds every exit."""
    with Run.create(tmp_path, seed=spare) as run, small_home(run, lack) as room:
        coordinator = run.coordinator()
        _, leaver, _ = coordinator.spawn(
            run.agent(), run.agent("--exit-after", "0.4", "--die", "USR1"), run.agent("--beat"), names=[NAME]
        )
        room.fill(spare)
        coordinator.kill()
        eventually(lambda: _ended(run, leaver), "one ends by itself")
        reads(run)
        for command in (["recover"], ["stop", NAME, "--no-wait"], ["run", "--name", "late", "--", "true"]):
            _says_why(run.outlive(*command))
        room.empty()
        with run.coordinator() as coordinator:
            assert coordinator.ask("wait", agents=[leaver], timeout=SETTLE_SECONDS)["answer"] == "ack"
        _nothing_is_left(run)
        assert _exits(run, leaver) == [{"kind": "signal", "signal": 10, "core_dumped": False}]
        run.judge()
        tally("10 disk full: recovery")


@pytest.mark.parametrize(("lack", "spare"), sweep([("bytes", 0)], EVERY))
def test_a_stop_is_carried_out_and_its_coordinator_killed(
    tmp_path: Path, tally: Tally, lack: Lack, spare: int
) -> None:
    """What was stopped and not recorded is not started again by its policy: the next one knows of the stop."""
    always = {"mode": "always", "backoff_seconds": 0.05}
    with Run.create(tmp_path, seed=spare) as run, small_home(run, lack) as room:
        coordinator = run.coordinator()
        agents = coordinator.spawn(run.agent(restart=always), run.agent(restart=always), names=["a", "b"])
        room.fill(spare)
        coordinator.send("stop", agents=agents, wait=False)
        eventually(lambda: len(_ended(run, *agents)) == 2, "both are stopped")
        coordinator.kill()
        room.empty()
        with run.coordinator() as coordinator:
            assert coordinator.ask("wait", agents=agents, timeout=SETTLE_SECONDS)["answer"] == "ack"
        for agent in agents:
            told = [kind for kind in _types(run, agent) if kind != "REATTACHED"]
            assert told[3:5] == ["STOP_REQUESTED", "SIGTERM_SENT"]
            assert told[-2:] == ["ZOMBIE_REAPED", "CANCELLED"]
        run.judge()
        tally("10 disk full: stop, coordinator killed")


@pytest.mark.faults
def test_an_agent_fills_the_disk_with_its_output(tmp_path: Path, tally: Tally) -> None:
    """The others do not notice, it can be killed, and is on record when its output is cut."""
    with Run.create(tmp_path, seed=1) as run, small_home(run) as room:
        with run.coordinator() as coordinator:
            leaver, _ = coordinator.spawn(run.agent("--exit-after", "1", "--code", "7"), run.agent("--beat"))
            [writer] = coordinator.spawn({**run.agent(), "command": FLOOD}, wait=False)
            run.fault("full", "store", agent=writer)
            output = run.home / "agents" / writer / "1" / "stdout.log"
            eventually(
                lambda: _ended(run, leaver) and room.is_full(), "one ends by itself, and no room is left"
            )
            kill = coordinator.send("kill", agents=[writer], wait=False)
            eventually(lambda: not list(_running(run, writer)), "the writer is gone")
            os.truncate(output, 0)
            _is_reasoned(coordinator.answer(kill))
            done = coordinator.ask("wait", agents=[writer, leaver], timeout=SETTLE_SECONDS)
            assert done["answer"] == "ack", done
        assert _exits(run, leaver) == [{"kind": "code", "code": 7}]
        run.judge()
        tally("10 disk full: by an agent's output")


def _running(run: Run, agent: str) -> list[int]:
    return [pid for pid, whose in living(run.home) if whose == agent]


def _is_reasoned(answer: dict[str, object]) -> None:
    assert answer["answer"] == "ack" or "cannot" in str(answer["error"]), answer


def _ended(run: Run, *agents: str) -> list[str]:
    return [words[0] for words in run.told_by_agents("END") if words[0] in agents]


def _log(run: Run, agent: str) -> list[tuple[str, dict[str, object]]]:
    with contextlib.closing(sqlite3.connect(f"file:{run.home}/events.db?mode=ro", uri=True)) as log:
        query = "SELECT type, data FROM events WHERE stream = ? ORDER BY position"
        return [(row[0], json.loads(row[1])) for row in log.execute(query, (f"agent/{agent}",))]


def _types(run: Run, agent: str) -> list[str]:
    return [type_ for type_, _ in _log(run, agent)]


def _exits(run: Run, agent: str) -> list[object]:
    return [data["exit"] for type_, data in _log(run, agent) if type_ == "ZOMBIE_REAPED"]
