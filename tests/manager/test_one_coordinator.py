"""One coordinator a home: others are refused by name, and one that lost the home can do nothing any more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest, OutliveError
from manager import Manager
from manager.home import Home, HomeBusy
from projections.sentences import sentence
from tests.support import story
from tests.support.agents import program, types
from tests.support.processes import eventually, runs
from tests.support.promises import check_promises, living, tell

_ORDERS = f"""
import sys
from manager import Manager, AgentSpec
manager = Manager.open(sys.argv[1], actor="old")
agent = manager.spawn(AgentSpec(command=("sleep", "1000"), env={{"{story.MARK}": sys.argv[1]}}), "it")
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def old(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A coordinator in another process, with one agent, that does what it reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", _ORDERS, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=story.ROOT,
        env={**os.environ, "PYTHONPATH": str(story.ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def _order(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_second_one_is_told_who_holds_the_home(home: Path, old: subprocess.Popen[str]) -> None:
    """`HomeBusy` names the process; nothing is changed; once it is gone the home is free."""
    with pytest.raises(HomeBusy, match=rf"process {old.pid} ") as caught:
        Manager.open(home)
    assert caught.value.holder is not None
    assert caught.value.holder["pid"] == old.pid
    old.kill()
    old.wait()
    with Manager.open(home) as manager:
        assert manager.status("it").is_alive


def test_a_holder_that_was_too_slow_to_write_its_name_is_waited_for(home: Path) -> None:
    """Its flock comes before its name; the refusal used to say then that nobody known holds the home."""
    Home(home).prepare()
    lock = Home(home).acquire()
    named = (home / "lock").read_text()
    os.truncate(home / "lock", 0)
    late = threading.Timer(0.5, lambda: (home / "lock").write_text(named))
    late.start()
    with pytest.raises(HomeBusy, match=rf"process {os.getpid()} "):
        Home(home).acquire()
    late.join()
    lock.release()


def test_a_stopped_holder_is_named_and_can_be_replaced(home: Path, old: subprocess.Popen[str]) -> None:
    """A holder under SIGSTOP blocks the home: the error says so, and `takeover` ends it and goes on."""
    os.kill(old.pid, signal.SIGSTOP)
    with pytest.raises(HomeBusy, match="SIGSTOP") as caught:
        Manager.open(home)
    assert caught.value.is_stopped
    with Manager.open(home, takeover=True) as manager:
        assert old.wait(timeout=30) == -signal.SIGKILL
        assert manager.status("it").is_alive
        assert types(manager, "it").count("SPAWNING") == 1


def test_takeover_leaves_a_holder_at_work_alone(home: Path, old: subprocess.Popen[str]) -> None:
    """It answers: whoever would take over is told so, by its name, and nothing is ended or recorded."""
    with pytest.raises(HomeBusy, match=rf"cannot take over .*: process {old.pid} .*and answers"):
        Manager.open(home, takeover=True)
    assert _order(old, "manager.status('it').is_alive") == "True"
    assert _order(old, "len([e for e in manager.events() if e.type == 'COORDINATOR_STARTED'])") == "1"
    assert _order(old, "len([e for e in manager.events() if e.type == 'REQUEST_REFUSED'])") == "0"


def test_takeover_ends_a_stuck_holder_and_says_so(home: Path, old: subprocess.Popen[str]) -> None:
    """Its socket takes requests and its loop turns no more. The agents do not notice; the log says who ended whom."""
    stuck = "manager._coordinator._loop.call_soon_threadsafe(__import__('time').sleep, 600) and None"
    assert _order(old, stuck) == "None"
    with Manager.open(home, actor="night shift", takeover=True) as manager:
        assert old.wait(timeout=30) == -signal.SIGKILL
        assert manager.status("it").is_alive
        _, started = (event for event in manager.events() if event.type == "COORDINATOR_STARTED")
    assert started.actor == "night shift"
    data = started.as_json()["data"]
    assert data["taken_over_from"] == old.pid
    assert f"process {old.pid} held the home, did not answer and was ended" in sentence(started.type, data)


def test_an_old_one_that_lost_its_lock_can_do_nothing(home: Path, old: subprocess.Popen[str]) -> None:
    """Were the lock ever lost (a copied home, a network file system), the epoch still fences the old coordinator:

    it can neither append nor start nor signal.
    """
    os.kill(old.pid, signal.SIGSTOP)
    (home / "lock").unlink()  # now both can hold a lock of that name
    with Manager.open(home) as manager:
        os.kill(old.pid, signal.SIGCONT)
        pid = manager.status("it").pid
        assert pid is not None
        before = [event.type for event in manager.events(agent="it")]
        for text in (
            "manager.spawn(AgentSpec(command=('sleep', '1000')), 'other')",
            "manager.stop('it')",
            "manager.kill('it')",
            "manager.signal('it', 15)",
            "manager.restart('it')",
        ):
            assert _order(old, text) == "EpochFenced"
        assert runs(pid)
        assert [event.type for event in manager.events(agent="it")] == before
        assert [status.name for status in manager.statuses(all=True)] == ["it"]
        assert len(list(living(home))) == 1


@pytest.mark.timeout(300)
def test_eight_at_once(home: Path) -> None:
    """Many processes open a new home at the same moment: one is in, all others hear so, and the log is whole."""
    processes = [tell(home, "rest") for _ in range(8)]
    eventually(home.with_name("home.rests").exists, "one has the home", seconds=120)
    eventually(
        lambda: sum(process.poll() is None for process in processes) == 1, "the others gave up", seconds=120
    )
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()
        else:
            assert b"HomeBusy" in process.communicate()[1]
    check_promises(home)


def test_one_after_the_other(home: Path) -> None:
    """Closing frees the home at once; each opening is the next epoch."""
    for epoch in range(1, 6):
        with Manager.open(home) as manager:
            started = [event for event in manager.events() if event.type == "COORDINATOR_STARTED"]
            assert [event.as_json()["data"]["epoch"] for event in started] == list(range(1, epoch + 1))


def test_a_fork_in_the_users_program(home: Path) -> None:
    """A child made by fork neither acts for the home nor keeps it locked after its parent's death."""
    script = (
        "import os, sys, time\n"
        "from manager import Manager\n"
        "manager = Manager.open(sys.argv[1])\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        manager.stop_all()\n"
        "        manager.recover()\n"
        "    except Exception as error:\n"
        "        print(os.getpid(), type(error).__name__, flush=True)\n"
        "    time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=story.ROOT,
        env={**os.environ, "PYTHONPATH": str(story.ROOT)},
    )
    assert parent.stdout is not None
    child, said = parent.stdout.readline().split()
    try:
        assert said in ("InvalidRequest", "StoreUnavailable")
        parent.kill()
        parent.wait()
        with Manager.open(home) as manager:
            assert manager.statuses() == []
        assert runs(int(child))
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.kill()
        parent.communicate()


def test_after_close(home: Path) -> None:
    """A closed manager says so, and does nothing."""
    manager = Manager.open(home)
    manager.close()
    with pytest.raises((InvalidRequest, OutliveError)):
        manager.spawn(program(home, "true"))
    time.sleep(0)
    assert list(living(home)) == []


def test_a_wait_of_another_thread_ends_with_the_manager(home: Path) -> None:
    """Whoever waits in another thread is told that the manager was closed; the agent runs on."""
    manager = Manager.open(home)
    agent = manager.spawn(program(home, "sleep", "1000"))
    told: list[str] = []

    def wait() -> None:
        try:
            manager.wait(agent)
        except InvalidRequest as error:
            told.append(str(error))

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    loop = manager._coordinator._loop
    eventually(lambda: any("wait" in repr(task) for task in asyncio.all_tasks(loop)), "the wait has begun")
    manager.close()
    waiting.join(30)
    assert len(told) == 1
    assert "closed" in told[0]
