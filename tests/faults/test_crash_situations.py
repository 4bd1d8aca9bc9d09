"""kill -9 of a coordinator at the points that need a situation: a holder to take over from, a lost shim, a client.

Each situation is gone through once for each of its points, in one home.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manager.messages import address
from manager.stopmarks import PREFIX
from tests.faults.commands import command
from tests.faults.crashes import (
    Crash,
    Crashes,
    coordinator_dies,
    go_on,
    kill_agent_without_its_shim,
    settles_for_good,
    wait_for,
)
from tests.faults.driven import CoordinatorGone, Driven
from tests.faults.run import Run
from tests.faults.test_crash_openings import OPENINGS
from tests.faults.test_crash_points import ROW, SPECIAL
from tests.support.preloaded import preloaded
from tests.support.processes import eventually
from tests.support.tally import Tally


@contextlib.contextmanager
def dying(run: Run, crashes: Crashes, crash: Crash, *options: str) -> Iterator[Driven]:
    """A coordinator that dies in the block at `crash`."""
    coordinator = run.coordinator(*options, variables=crashes.variables(crash))
    with coordinator:
        yield coordinator
        eventually(lambda: coordinator.process.poll() is not None, f"it dies at {crash.point}")
        with contextlib.suppress(CoordinatorGone):
            coordinator.answer(-1)
    assert crashes.struck(crash), f"{crash.point} was not reached"


def taking_over(run: Run, crashes: Crashes, crash: Crash) -> None:
    """It has just ended, or is just about to end, the coordinator that held the home."""
    with run.coordinator() as holder:
        holder.spawn(run.agent("--beat"), names=[f"keeper-{crashes.fresh()}"])
        run.kill("coordinator", holder.pid, signal.SIGSTOP)
        run.fault("kill", "coordinator", pid=holder.pid)
        with contextlib.suppress(CoordinatorGone):
            run.coordinator("--takeover", variables=crashes.variables(crash))
        holder.kill()
    assert crashes.struck(crash), f"{crash.point} was not reached"


def ending_what_a_lost_shim_left(run: Run, crashes: Crashes, crash: Crash) -> None:
    """An agent has ended after its shim was killed, and its child and cgroup are still there."""
    spec = run.agent("--fork", "1", cgroup=True)
    with dying(run, crashes, crash) as coordinator:
        [agent] = coordinator.spawn(spec)
        kill_agent_without_its_shim(run, agent)
        coordinator.send("wait", agents=[agent])


def answering_a_command(run: Run, crashes: Crashes, crash: Crash) -> None:
    """A command that asks it for a start does not take the silence for a success, nor starts it twice."""
    name = f"keeper-asked-at-{crash.point.partition('.')[2]}"
    with dying(run, crashes, crash):
        printed = command(run, "run", "--name", name, "--", *run.program("--beat"))
    is_told = crash.point == "coordinator.after_reply"
    assert (printed.returncode == 0) == (is_told or crash.point == "coordinator.before_accept"), printed
    if printed.returncode != 0:
        assert "cannot tell whether it was done" in printed.stderr


def refusing_a_stranger(run: Run, crashes: Crashes, crash: Crash) -> None:
    """Somebody sends it what is no request."""
    with dying(run, crashes, crash), socket.socket(socket.AF_UNIX) as connection:
        with address(run.home / "control.sock") as place:
            connection.connect(place)
        connection.sendall(b"GET / HTTP/1.1\n")
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1 << 16)


def hanging_up(run: Run, crashes: Crashes, crash: Crash) -> None:
    """It leaves while a command waits for its answer, and the command goes on by itself."""
    with run.coordinator(variables=crashes.variables(crash)) as coordinator:
        [agent] = coordinator.spawn(run.agent("--beat"), names=["keeper"])
        stop, stopped = crashes.stop_at(Crash("client.after_accept"))
        waiting = preloaded.start(
            "manager.cli.main",
            ["--home", str(run.home), "wait", agent],
            env=run.variables({"OUTLIVE_STOP": stop}),
        )
        with waiting.stdin, waiting.stdout:
            wait_for(stopped)
            assert coordinator.leave() == -signal.SIGKILL
            go_on(waiting.pid)
            assert crashes.struck(crash), f"{crash.point} was not reached"
            assert command(run, "stop", agent).returncode == 0
            assert waiting.wait(30) == 0


def rolling_back(run: Run, crashes: Crashes, crash: Crash) -> None:
    """The database refuses a row."""
    with contextlib.closing(sqlite3.connect(run.home / "events.db")) as database:
        with dying(run, crashes, crash) as coordinator:
            database.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
            coordinator.send("spawn", items=[{"name": f"keeper-{crashes.fresh()}", "spec": run.agent()}])
        database.execute("DROP TRIGGER refuse")


def erasing(run: Run, crashes: Crashes, crash: Crash) -> None:
    """Somebody has what a failed agent wrote erased."""
    name = f"tells-{crashes.fresh()}"
    with dying(run, crashes, crash) as coordinator:
        [agent] = coordinator.spawn(
            run.agent("--flood", "1000", "--exit-after", "0.3", "--code", "3"), names=[name]
        )
        coordinator.ask("wait", agents=[agent])
        command(run, "erase", name, "--output")
    assert command(run, "erase", name, "--output").returncode == 0


def stopping_without_a_log(run: Run, crashes: Crashes, crash: Crash) -> None:
    """Somebody holds the log's lock for longer than it waits while it is to stop an agent; then it can be written."""
    is_late = "removed" in crash.point
    run.fault("locked", "store")
    connect = sqlite3.connect(run.home / "events.db", isolation_level=None)
    with contextlib.closing(connect) as database, dying(run, crashes, crash) as coordinator:
        spec = run.agent(restart={"mode": "always", "backoff_seconds": 0.05})
        [agent] = coordinator.spawn(spec, names=[f"keeper-{crashes.fresh()}"])
        database.execute("BEGIN IMMEDIATE")
        order = coordinator.send("stop", agents=[agent], wait=False)
        if is_late:
            directory = run.home / "agents" / agent / "1"
            eventually(lambda: list(directory.glob(f"{PREFIX}*")), "it leaves a mark")
            coordinator.answer(order)
            database.execute("ROLLBACK")
    if crash.point != "coordinator.before_stop_mark":
        with run.coordinator() as coordinator:
            assert coordinator.ask("wait", agents=[agent], timeout=60)["answer"] == "ack"


Situation = Callable[[Run, Crashes, Crash], None]
SITUATIONS: dict[Situation, str] = {
    taking_over: "coordinator.before_takeover coordinator.after_takeover",
    ending_what_a_lost_shim_left: """
        coordinator.before_leftover_kill coordinator.after_leftover_kill coordinator.after_leftover_group_kill
        coordinator.before_group_removal coordinator.after_group_removal
    """,
    answering_a_command: """
        coordinator.before_accept coordinator.after_accept coordinator.before_reply coordinator.after_reply
    """,
    refusing_a_stranger: "coordinator.before_refusal coordinator.after_refusal",
    hanging_up: "coordinator.after_hanging_up",
    rolling_back: "store.before_rollback store.after_rollback",
    stopping_without_a_log: """
        coordinator.before_stop_mark coordinator.after_stop_mark
        coordinator.before_stop_mark_removed coordinator.after_stop_mark_removed
    """,
    erasing: """
        coordinator.before_output_erased coordinator.after_output_erased store.before_scrub store.after_scrub
    """,
}


def test_every_special_point_has_its_situation() -> None:
    """None is left out."""
    described = [*SITUATIONS.values(), *OPENINGS.values()]
    assert {point for points in described for point in points.split()} == SPECIAL


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_killed_in_a_situation(tmp_path: Path, tally: Tally, situation: Situation) -> None:
    """What was half done is done or undone by the next coordinator, once."""
    with Run.create(tmp_path, seed=1) as run:
        crashes = Crashes(run)
        coordinator_dies(run, crashes, Crash("coordinator.after_kill"))
        for point in SITUATIONS[situation].split():
            situation(run, crashes, Crash(point))
        settles_for_good(run)
        run.judge()
        tally(ROW, runs=crashes.count)
