"""A stop that is carried out while the log cannot be written is known to the next coordinator by its mark."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import StoreUnavailable
from manager import Manager, RestartPolicy
from manager import commands as do
from manager.door import open_door
from manager.process import attempt_dir
from manager.stopmarks import NAME_BYTES, PREFIX, name_for, parse, read
from tests.support import story
from tests.support.agents import data, program, python, types
from tests.support.preloaded import COMMAND, preloaded
from tests.support.processes import eventually, runs
from tests.support.promises import living
from tests.support.small_disks import Disk

UUID = "11111111-1111-4111-8111-111111111111"
ATTEMPT = "agents/0123456789abcdef/1"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"


SCRIPT = """
import sys
from pathlib import Path
from threading import Thread
from manager import Manager
manager = Manager.open(Path(sys.argv[1]), actor="night shift")

def carry_out(name, how):
    try:
        if how == "kill":
            manager.kill(name)
        else:
            manager.stop(name, grace=tuple(map(float, how.split(","))), reason="release 7 = ünsafe; " + "x" * 300)
    except Exception as error:
        print(f"{error}\\n", end="", flush=True)  # at once: there are two threads

print("up", flush=True)
for line in sys.stdin:
    Thread(target=carry_out, args=line.split(), daemon=True).start()
"""


@contextlib.contextmanager
def another_process(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A coordinator that stops what it is told; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=story.ROOT,
        env={**os.environ, "PYTHONPATH": str(story.ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(process: subprocess.Popen[str], order: str) -> None:
    assert process.stdin is not None
    process.stdin.write(order + "\n")
    process.stdin.flush()


@pytest.mark.root
def test_a_stop_on_a_full_disk_was_lost_with_its_coordinator(disk: Disk) -> None:
    """The agent was started again by its policy, and its end was told as a failure: now it stays stopped, by whom."""
    home = disk.path / "home"
    with Manager.open(home) as manager:
        always = RestartPolicy(mode="always", backoff_seconds=0.05)
        for name in ("it", "deaf"):
            spec = program(home, "sleep", "1000", restart=always)
            manager.spawn(python(home, DEAF, restart=always) if name == "deaf" else spec, name)
        eventually((home / manager.status("deaf").directory / "stdout.log").read_text, "it is deaf")
    with another_process(home) as old:
        empty = disk.fill()
        _tell(old, "it 1,1,1")
        eventually(lambda: len({agent for _, agent in living(home)}) == 1, "it is stopped")
        assert old.stdout is not None
        said = old.stdout.readline()
        assert "cannot record that it was stopped: cannot " in said
        assert "same ids" not in said
        _tell(old, "deaf 0.1,0.1,10")
        eventually(lambda: not list(living(home)), "the deaf one is killed")
    empty()
    with Manager.open(home) as manager:
        eventually(lambda: all(manager.status(name).is_final for name in ("it", "deaf")), "all is on record")
        told = types(manager, "it")[3:]
        assert [told[1], *told[-2:]] == ["STOP_REQUESTED", "ZOMBIE_REAPED", "CANCELLED"]
        assert types(manager, "deaf")[-1] in (
            "KILLED",
            "CANCELLED",
        )  # by the number of names there was room for
        why = manager.why("it")
        assert (why.verdict.cause, why.verdict.certainty) == ("signal by us", "likely")
        assert "while the log could not be written" in why.verdict.evidence[1].text
        assert why.asked[-1].actor == "night shift"
        assert str(why.asked[-1].reason).startswith("release 7 = ünsafe; xxx")
        assert not list((home / manager.status("it").directory).glob(f"{PREFIX}*"))
        assert not list(living(home))
    with Manager.open(home) as manager:
        assert manager.recovery is not None
        assert (manager.recovery.ended, manager.status("it").attempt) == (0, 1)


@pytest.mark.root
@pytest.mark.parametrize("disk", ["tmpfs", "tmpfs without inodes"], indirect=True)
@pytest.mark.parametrize("order", ["stop", "kill"])
def test_a_command_stopped_nothing_on_a_full_disk_without_a_coordinator(disk: Disk, order: str) -> None:
    """It could not begin its epoch, and left with 7 and the agent running: now it ends it, and that is told later."""
    home = disk.path / "home"
    with Manager.open(home) as manager:
        manager.spawn(program(home, "sleep", "1000", restart=RestartPolicy(mode="always")), "it")
    empty = disk.fill()
    done = preloaded.run(
        COMMAND, ["--home", str(home), order, "it", "--reason", "release 7"], env=os.environ, timeout=60
    )
    assert not list(living(home)), done
    assert done.returncode == 7
    assert "cannot record that it was stopped: cannot " in done.stderr
    empty()
    with Manager.open(home) as manager:
        eventually(lambda: manager.status("it").is_final, "all is on record")
        told = types(manager, "it")[3:]
        assert [told[0], told[-1]] == ["STOP_REQUESTED", "KILLED" if order == "kill" else "CANCELLED"]
        assert manager.why("it").asked[-1].reason == "release 7"
        assert not list(living(home))


@pytest.mark.root
@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
def test_a_stop_and_a_kill_at_once_on_a_full_disk_broke_the_next_recovery(disk: Disk) -> None:
    """All their waits had passed when their coordinator was killed: it recovers, and nothing is started again."""
    home = disk.path / "home"
    with Manager.open(home) as manager:
        always = RestartPolicy(mode="always", backoff_seconds=0.05)
        spec = python(home, DEAF, restart=always).model_copy(update={"stop_grace_seconds": (0.1, 0.1, 0.2)})
        eventually((home / manager.spawn(spec, "deaf").directory / "stdout.log").read_text, "it is deaf")
    with another_process(home) as old:
        empty = disk.fill()
        _tell(old, "deaf 0.1,0.1,0.2")
        _tell(old, "deaf kill")
        eventually(lambda: not list(living(home)), "it is killed")
        assert old.stdout is not None
        for _ in range(2):
            assert "cannot record that deaf was " in old.stdout.readline()
    empty()
    with open_door(home, None, actor="test") as door:  # before its shim looks whether there is room
        report = door.recover()
        stopped = door.finish_stops()
        assert report.reattached + report.ended == 1
        assert all(one.state in ("KILLED", "CANCELLED") for one in stopped)
        (ended,) = door.wait(["deaf"], timeout=30)
        assert (ended.attempt, ended.state in ("KILLED", "CANCELLED")) == (1, True)
    assert not list(living(home))


@pytest.mark.root
def test_a_coordinator_that_lives_removes_its_marks(disk: Disk) -> None:
    """It records the stop itself, once, when there is room."""
    home = disk.path / "home"
    with Manager.open(home) as manager:
        directory = home / manager.spawn(program(home, "sleep", "1000"), "it").directory
        pid = manager.status("it").pid or 0
        eventually((directory / "status.json").exists, "it has a file that can become its mark")
        empty = disk.fill()
        with pytest.raises(StoreUnavailable, match="cannot record that the stop of it was begun: "):
            manager.stop("it", wait=False)
        assert list(directory.glob(f"{PREFIX}*"))
        eventually(lambda: not runs(pid), "it is stopped")
        empty()
        assert manager.wait("it").state == "CANCELLED"
        assert types(manager, "it")[3:] == ["STOP_REQUESTED", "SIGTERM_SENT", "ZOMBIE_REAPED", "CANCELLED"]
        eventually(lambda: not list(directory.glob(f"{PREFIX}*")), "its mark is removed")


@pytest.mark.root
def test_a_restart_was_called_off_on_a_full_disk_and_came_all_the_same(disk: Disk) -> None:
    """The order was lost with its coordinator: now no attempt follows, and an older mark stops no later one."""
    home = disk.path / "home"
    slow = RestartPolicy(mode="always", backoff_seconds=30.0)
    with Manager.open(home) as manager:
        manager.spawn(program(home, "sh", "-c", "sleep 0.3; exit 7", restart=slow), "it")
        eventually(lambda: manager.status("it").state == "BACKOFF", "it waits")
    with another_process(home) as old:
        empty = disk.fill()
        _tell(old, "it 1,1,1")
        directory = home / "agents"
        eventually(lambda: list(directory.rglob(f"{PREFIX}*")), "the order leaves a mark")
        mark = next(directory.rglob(f"{PREFIX}*"))
    empty()
    with Manager.open(home) as manager:
        eventually(lambda: manager.status("it").is_final, "it is called off")
        assert types(manager, "it")[-2:] == ["RESTART_SCHEDULED", "CANCELLED"]
        assert list(manager.events(agent="it"))[-1].actor == "night shift"
        eventually(lambda: not mark.exists(), "its mark is removed")
        os.link(mark.with_name("identity.json"), mark)
        manager.restart("it", wait=False)
    with Manager.open(home) as manager:
        eventually(lambda: manager.status("it").attempt == 2, "it is started again by order")
        manager.stop("it")


def test_a_half_done_stop_goes_on_by_its_mark(home: Path) -> None:
    """Its process lives: the stop goes on where it was; a damaged mark, and one of another attempt, are passed over."""
    with Manager.open(home) as manager:
        directory = home / manager.spawn(python(home, DEAF), "deaf").directory
        eventually((directory / "stdout.log").read_text, "it is deaf")
        at = manager._coordinator.ledger.states[manager.status("deaf").id].since_at + 1
    order = do.RecalledOrder(
        actor="uid:7/cli", correlation_id=UUID, cause="user", reason=None, grace_seconds=(0.1, 0.1, 10.0)
    )
    path = str(directory.relative_to(home))
    good = name_for(do.RecallSignal(at=at, stage=1, order=order), path)
    damaged = name_for(do.RecallSignal(at=at, stage=3, order=order), "agents/fedcba9876543210/1")
    for name in (good, damaged, f"{PREFIX}x"):
        os.link(directory / "identity.json", directory / name)
    with Manager.open(home) as manager:
        assert manager.wait("deaf", timeout=60).state == "KILLED"
        assert types(manager, "deaf")[3:6] == ["STOP_REQUESTED", "SIGTERM_SENT", "REATTACHED"]
        (again,) = data(manager, "deaf", "REATTACHED")
        assert "another attempt" in again["evidence"]
        assert "is no mark of a stop" in again["evidence"]
        assert manager.why("deaf").asked[-1].actor == "uid:7/cli"
    assert sorted(path.name for path in directory.glob(f"{PREFIX}*")) == sorted((damaged, f"{PREFIX}x"))


@pytest.mark.parametrize("actor", ["uid:0/cli", "ü" * 200])
@pytest.mark.parametrize("reason", [None, "", "-", "because", "ж" * 2000, "a/b\n.."])
def test_a_mark_says_what_it_was_made_of(actor: str, reason: str | None) -> None:
    """As far as a name can hold it; any changed character makes it none."""
    order = do.RecalledOrder(
        actor=actor,
        correlation_id=UUID,
        cause="shutdown",
        reason=reason,
        grace_seconds=(31536000.0, 0.1, 0.0),
    )
    signal = do.RecallSignal(at=1_764_000_000_000_000, stage=1, order=order)
    name = name_for(signal, f"/anywhere/{ATTEMPT}")
    attempt = attempt_dir.name_of(ATTEMPT)
    assert len(os.fsencode(name)) <= NAME_BYTES
    assert "/" not in name
    told = parse(name, attempt)
    assert isinstance(told, do.RecallSignal)
    assert told.order is not None
    assert (told.at, told.stage, told.order.grace_seconds) == (signal.at, 1, order.grace_seconds)
    assert (told.order.reason is None) == (reason is None)
    assert (reason or "").startswith((told.order.reason or "").removesuffix("…"))
    assert actor.startswith(told.order.actor.removesuffix("…"))
    for index in range(len(name)):
        other = "1" if name[index] != "1" else "2"
        assert isinstance(parse(name[:index] + other + name[index + 1 :], attempt), str)


def test_marks_are_read_in_the_order_in_which_they_were_left(tmp_path: Path) -> None:
    """And no directory has none."""
    place = tmp_path / "agents" / "0123456789abcdef" / "1"
    assert read(str(place)).signals == ()
    place.mkdir(parents=True)
    signals = [do.RecallSignal(at=1_764_000_000_000_000 + stage, stage=stage) for stage in (3, 1, 2)]
    for signal in signals:
        (place / name_for(signal, str(place))).touch()
    assert [signal.stage for signal in read(str(place)).signals] == [1, 2, 3]
