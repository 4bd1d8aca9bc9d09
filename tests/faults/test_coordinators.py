"""Many coordinators at one home: one holds it, the others are told so, and one that lost it does nothing any more."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from manager.process import procfs
from tests.faults.crashes import is_stopped
from tests.faults.driven import Driven
from tests.faults.run import Run
from tests.support.processes import eventually
from tests.support.tally import Tally

# Where one that is told to start and to end agents comes by. None holds the log's lock.
POINTS = (
    "coordinator.before_commit",
    "coordinator.after_commit",
    "coordinator.before_agent_directory",
    "coordinator.after_agent_directory",
    "coordinator.before_request",
    "coordinator.after_request",
    "coordinator.before_send",
    "coordinator.after_send",
    "coordinator.before_look",
    "coordinator.before_kill",
    "coordinator.after_kill",
    "coordinator.before_signal",
    "coordinator.after_signal",
    "coordinator.before_status_file",
    "coordinator.after_status_written",
    "store.before_begin",
    "store.before_commit",
    "store.after_commit",
    "store.after_head",
)
SAMPLE = ("coordinator.after_commit", "coordinator.before_signal", "store.before_commit")


def _race(run: Run, count: int) -> None:
    """All stand before the lock, and are let go together."""
    variables = run.variables({"OUTLIVE_STOP": "coordinator.before_lock"})
    racing = [Driven(run, (str(run.home),), variables, ()) for _ in range(count)]
    for one in racing:
        eventually(lambda pid=one.pid: is_stopped(pid), "it stands before the lock")  # type: ignore[misc]
    for one in racing:
        os.kill(one.pid, signal.SIGCONT)
    answers = [one.answer(0) for one in racing]
    holders = [one for one, answer in zip(racing, answers, strict=True) if answer["answer"] == "ack"]
    refusals = [answer["error"] for answer in answers if answer["answer"] != "ack"]
    assert len(holders) == 1, answers
    assert all(told.startswith("HomeBusy: cannot act as coordinator of") for told in refusals), refusals
    holders[0].spawn(run.agent("--exit-after", "0"))
    for one in racing:
        one.close()


def _races(parent: Path, tally: Tally, races: int, count: int, seed: int) -> None:
    with Run.create(parent, seed=seed) as run:
        for _ in range(races):
            _race(run, count)
        epochs = [body["epoch"] for body in run.bodies("COORDINATOR_STARTED")]
        assert epochs == list(range(1, races + 1))
        run.judge()
    tally("16 many coordinators at once", runs=races, coordinators=races * count)


@pytest.mark.timeout(300)
def test_one_of_fifty_holds_the_home(tmp_path: Path, tally: Tally) -> None:
    """The others say who holds it."""
    _races(tmp_path, tally, 1, 50, 1)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_races(tmp_path: Path, tally: Tally, seed: int) -> None:
    """Each race is for the same home as the one before, with an agent started in it."""
    _races(tmp_path, tally, 98, 5, seed)
    _races(tmp_path, tally, 2, 50, seed)


def _take_over(parent: Path, point: str) -> bool:
    """Stop a busy one at a point, and take its home; whether it came by there."""
    with Run.create(parent, seed=1) as run:
        old = run.coordinator()
        [agent, *_] = agents = old.spawn(run.agent("--ignore", "TERM"), run.agent())
        old.ask("arm", crashes="", stops=point)
        run.fault("stop", "coordinator", pid=old.pid, signal=int(signal.SIGSTOP))
        old.send("spawn", items=[{"name": None, "spec": run.agent("--exit-after", "0.1")}], wait=False)
        old.send("signal", agents=[agent], signal=int(signal.SIGCONT))
        old.send("kill", agents=agents)
        eventually(lambda: is_stopped(old.pid) or _has_answered(old), "it is stopped, or has done all")
        is_hit = is_stopped(old.pid)
        run.fault("kill", "coordinator", pid=old.pid, signal=int(signal.SIGKILL))
        new = run.coordinator("--takeover")
        assert old.process.wait(60) == -signal.SIGKILL
        old.mourn()
        new.spawn(run.agent("--exit-after", "0"))
        new.close()
        run.judge()
        return is_hit


def _has_answered(one: Driven) -> bool:
    """Whether nothing is left for it to do: it waits for the next order."""
    read = procfs.read_bytes(f"/proc/{one.pid}/wchan") or b""
    return b"pipe_read" in read


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", SAMPLE)
def test_a_stopped_one_is_replaced(tmp_path: Path, tally: Tally, point: str) -> None:
    """`takeover` ends it wherever it stands; the next one goes on from the log."""
    assert _take_over(tmp_path, point)
    tally("16 coordinator stopped at a point, then taken over from")


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
def test_a_stopped_one_is_replaced_wherever_it_stands(tmp_path: Path, tally: Tally, point: str) -> None:
    """At every point that such a one comes by."""
    tally("16 coordinator stopped at a point, then taken over from", runs=int(_take_over(tmp_path, point)))


def _stops_without_the_log(run: Run, one: Driven) -> bool:
    """Stop it; let it go on where it was just writing, for then nobody else could."""
    run.kill("coordinator", one.pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(one.pid), "it is stopped")
    with (run.home / "events.db.lock").open("r+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            run.kill("coordinator", one.pid, signal.SIGCONT)
            return False
    return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ask", ["spawn", "stop", "kill", "signal"])
def test_a_resumed_one_that_lost_its_lock_acts_no_more(tmp_path: Path, tally: Tally, ask: str) -> None:
    """Told what to do while it is stopped, it is fenced by the epoch of the next when it goes on: nothing follows."""
    with Run.create(tmp_path, seed=2) as run:
        old = run.coordinator()
        agents = old.spawn(run.agent("--beat"))
        eventually(lambda: _stops_without_the_log(run, old), "it is stopped, and holds no lock of the log")
        order = {"items": [{"name": None, "spec": run.agent()}]} if ask == "spawn" else {"agents": agents}
        number = old.send(ask, **order, **({"signal": int(signal.SIGTERM)} if ask == "signal" else {}))
        (run.home / "lock").unlink()  # now both can hold a lock of that name
        with run.coordinator() as new:
            run.kill("coordinator", old.pid, signal.SIGCONT)
            answer = old.answer(number)
            assert answer["answer"] == "error"
            assert answer["error"].startswith("EpochFenced"), answer
            assert len(run.told_by_agents("START")) == 1
            assert run.told_by_agents("SIG") == []
            assert new.ask("health", agents=agents)["answer"] == "ack"
            old.kill()
        run.judge()
    tally("16 coordinator stopped, its lock lost, resumed")
