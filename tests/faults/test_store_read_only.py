"""A home that cannot be written, or not even looked at: nothing is started, each command says why, then it goes on."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults.rooms import read_only, remounted_read_only
from tests.faults.run import SETTLE_SECONDS, Run
from tests.support.others import Other
from tests.support.processes import eventually
from tests.support.promises import clean_up
from tests.support.tally import Tally

pytestmark = pytest.mark.root

NAME = "it"
READING = (
    ["ps", "--all"],
    ["events"],
    ["status", NAME],
    ["health", NAME],
    ["logs", NAME],
    ["verify"],
    ["db", "current"],
    ["rebuild", "--check"],
)
CHANGING = (
    ["stop", NAME],
    ["kill", NAME],
    ["signal", NAME, "-s", "USR1"],
    ["restart", NAME],
    ["wait", NAME],
    ["recover"],
    ["db", "upgrade"],
    ["rebuild"],
)


def test_commands_on_a_read_only_home(tmp_path: Path, tally: Tally) -> None:
    """Without a coordinator nothing can be recorded: changes are refused, with the reason. Reading goes on."""
    with Run.create(tmp_path, seed=1) as run:
        assert run.outlive("run", "--name", NAME, "--", *run.program("--beat")).returncode == 0
        with read_only(run):
            for command in (["run", "--name", "late", "--", *run.program()], *CHANGING):
                done = run.outlive(*command)
                assert done.returncode == (7 if command == ["rebuild"] else 1), done
                assert done.stderr.startswith("outlive: cannot "), done
                assert "the file system is read-only; make it writable" in done.stderr, done
                assert done.stdout == "", done
            for command in READING:
                done = run.outlive(*command)
                assert (done.returncode, done.stderr) == (0, ""), done
                assert done.stdout or command[0] == "logs", done
            done = run.outlive("doctor")
            assert (done.returncode, done.stderr) == (1, ""), done
            assert "the file system is read-only; make it writable" in done.stdout, done
        assert [words[0] for words in run.told_by_agents()] == [run.bodies("SPAWNING")[0]["directory"][7:23]]
        assert run.outlive("stop", NAME).returncode == 0
        run.judge()
    tally("11 command on a read-only home", runs=2 + len(READING) + len(CHANGING))


@pytest.mark.strace
def test_a_coordinator_goes_on_when_its_home_was_read_only_for_a_while(tmp_path: Path, tally: Tally) -> None:
    """It starts nothing meanwhile, and says why; it stops what runs; then it catches up, each exit with its code."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            stopped, first, second, beating = coordinator.spawn(
                run.agent(), run.agent(), run.agent(), run.agent("--beat")
            )
            pids = {words[0]: int(words[3]) for words in run.told_by_agents()}
            with remounted_read_only(run, coordinator.pid):
                start = partial(coordinator.ask, "spawn", items=[{"name": NAME, "spec": run.agent()}])
                errors = [start()["error"] for _ in ("by the open files", "by those that it opens then")]
                assert all(error.startswith("StoreUnavailable: cannot ") for error in errors), errors
                assert "it is read-only" in errors[1], errors
                stop = coordinator.send("stop", agents=[stopped], wait=False)
                eventually(partial(_has_ended, run, stopped), "it is stopped")
                for agent in (second, first):
                    run.kill("agent", pids[agent], signal.SIGTERM, agent=agent)
                    eventually(partial(_has_ended, run, agent), "it ends by itself")
                before = len(run.told_by_agents("BEAT"))
                eventually(lambda: len(run.told_by_agents("BEAT")) > before + 2, "the other one goes on")
                coordinator.answer(stop)
            agents = [stopped, first, second]
            done = coordinator.ask("wait", agents=agents, timeout=SETTLE_SECONDS)
            assert done["answer"] == "ack", done
            coordinator.spawn(run.agent("--exit-after", "0.1"))
        assert len(run.told_by_agents()) == 5
        assert not _has_ended(run, beating)
        assert [body["exit"]["kind"] for body in run.bodies("ZOMBIE_REAPED")][:3] == ["code"] * 3
        run.judge()
    tally("11 home of a coordinator read-only for a while")


def test_a_coordinator_is_closed_where_its_socket_cannot_be_removed(tmp_path: Path, tally: Tally) -> None:
    """It lets go of the home without an error; the next one finds the agent, and puts a socket of its own there."""
    with Run.create(tmp_path, seed=1) as run:
        coordinator = run.coordinator()
        coordinator.spawn(run.agent("--beat"), names=[NAME])
        with read_only(run):
            coordinator.close()
        assert (run.home / "control.sock").is_socket()
        with run.coordinator():
            assert run.outlive("stop", NAME).returncode == 0
        assert not (run.home / "control.sock").exists()
        run.judge()
    tally("11 coordinator closed on a read-only home")


def _closed_directory(other: Other) -> tuple[Path, int]:
    return other.home, 0o500


def _closed_log(other: Other) -> tuple[Path, int]:
    return other.home / "events.db", 0o400


def _unreadable_home(other: Other) -> tuple[Path, int]:
    return other.home, 0


def _closed_way(other: Other) -> tuple[Path, int]:
    return other.place, 0


CLOSINGS: list[tuple[Callable[[Other], tuple[Path, int]], int, int]] = [
    (_closed_directory, 0, 1),
    (_closed_log, 0, 7),
    (_unreadable_home, 7, 1),
    (_closed_way, 7, 1),
]


@pytest.mark.timeout(300)
def test_modes_that_keep_the_owner_out(tally: Tally) -> None:
    """Reading goes on where files can be read; nothing is started; the agent runs on, and its exit is known later."""
    with Other.create() as other:
        try:
            agent = "trap 'exit 7' TERM; while :; do sleep 0.1; done"
            assert other.outlive("run", "--name", NAME, "--", "sh", "-c", agent).returncode == 0
            for closing, reads, starts in CLOSINGS:
                path, mode = closing(other)
                open_mode = stat.S_IMODE(path.stat().st_mode)
                os.chmod(path, mode)
                try:
                    _look_and_start(other, reads, starts)
                finally:
                    os.chmod(path, open_mode)
            assert other.outlive("stop", NAME).returncode == 0
            shown = json.loads(other.outlive("ps", "--all", "--json").stdout)["agents"]
            assert [(one["name"], one["exit"]["code"]) for one in shown] == [(NAME, 7)]
        finally:
            clean_up(other.home)
    tally("11 command of an owner whom the modes keep out", runs=2 * len(CLOSINGS) + 1)


def _look_and_start(other: Other, reads: int, starts: int) -> None:
    done = other.outlive("ps")
    assert done.returncode == reads, done
    assert NAME in done.stdout if reads == 0 else done.stderr.startswith("outlive: cannot "), done
    done = other.outlive("run", "--name", "late", "--", "true")
    assert (done.returncode, done.stdout) == (starts, ""), done
    assert done.stderr.startswith("outlive: cannot "), done


def test_a_home_that_may_not_be_looked_at_was_a_new_one_to_the_doctor() -> None:
    """It says what is wrong with it, whether that is the way to it or the home itself."""
    with Other.create() as other:
        assert other.outlive("db", "upgrade").returncode == 0
        for path in (other.place, other.home):
            open_mode = stat.S_IMODE(path.stat().st_mode)
            os.chmod(path, 0)
            try:
                done = other.outlive("doctor", "--json")
            finally:
                os.chmod(path, open_mode)
            assert (done.returncode, done.stderr) == (1, ""), done
            [home] = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "home"]
            assert (home["verdict"], "ermission" in home["detail"]) == ("bad", True), home


def _has_ended(run: Run, agent: str) -> bool:
    return any(words[0] == agent for words in run.told_by_agents("END"))
