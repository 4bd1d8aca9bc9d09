"""A log that cannot be written: no start without a durable intent, stops all the same, and the truth afterwards."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eventstore.errors import StoreUnavailable
from manager import Manager, waits
from projections.checking import check
from tests.support import story
from tests.support.agents import data, program, types
from tests.support.processes import eventually, runs
from tests.support.promises import clean_up, living


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    yield place
    clean_up(place / "home")
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _fill(place: Path) -> Path:
    """Take all the room that there is."""
    filler = place / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return filler


@pytest.mark.root
def test_a_full_disk(small_disk: Path) -> None:
    """While it is full agents can be stopped and none is started; when there is room again the log is caught up."""
    home = small_disk / "home"
    with Manager.open(home) as manager:
        for name in ("stopped", "kept", "ends"):
            command = ("sleep", "1000") if name != "ends" else ("sh", "-c", "sleep 1.5; exit 7")
            manager.spawn(program(home, *command), name)
        pids = {name: manager.status(name).pid or 0 for name in ("stopped", "kept", "ends")}
        filler = _fill(small_disk)
        with pytest.raises(StoreUnavailable):
            manager.spawn(program(home, "sleep", "1000"), "refused")
        with contextlib.suppress(StoreUnavailable):
            manager.stop("stopped", wait=False)
        eventually(lambda: not runs(pids["stopped"]), "it is stopped although the disk is full")
        eventually(lambda: not runs(pids["ends"]), "another ends by itself")
        assert runs(pids["kept"])
        assert len({agent for _, agent in living(home)}) == 1
        filler.unlink()
        eventually(lambda: manager.status("stopped").is_final, "the log is caught up")
        eventually(lambda: manager.status("ends").is_final, "the log is caught up")
        assert types(manager, "stopped")[3:] == [
            "STOP_REQUESTED",
            "SIGTERM_SENT",
            "ZOMBIE_REAPED",
            "CANCELLED",
        ]
        assert data(manager, "ends", "ZOMBIE_REAPED")[0]["exit"]["code"] == 7
        assert manager.spawn(program(home, "sleep", "1000"), "refused").state == "RUNNING"
        _is_whole(manager)
        manager.kill_all()


@pytest.mark.root
def test_a_stop_was_acknowledged_that_could_not_be_recorded(small_disk: Path) -> None:
    """The agent is stopped, whoever waits is told why that is not on record, and then it is recorded."""
    home = small_disk / "home"
    with Manager.open(home) as manager:
        pid = manager.spawn(program(home, "sleep", "1000"), "it").pid or 0
        manager.spawn(program(home, "sleep", "1000"), "killed")
        filler = _fill(small_disk)
        begun = time.monotonic()
        with pytest.raises(
            StoreUnavailable, match=r"cannot record that it was stopped: .* the disk is full; it is rec"
        ):
            manager.stop("it")
        assert not runs(pid), "it is stopped although the disk is full"
        with pytest.raises(StoreUnavailable, match=r"cannot record that killed was stopped: "):
            manager.kill("killed")
        assert time.monotonic() - begun < 10.0, (
            "as soon as it is gone: not after the 20 s that a stop may take"
        )
        filler.unlink()
        assert manager.wait("it").state == "CANCELLED"
        assert manager.wait("killed").state == "KILLED"
        assert "STOP_TIMED_OUT" not in types(manager, "it")
        _is_whole(manager)


@pytest.mark.root
def test_a_stop_waited_for_room_in_a_home_whose_log_is_elsewhere(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log can be written, the exit cannot: whoever waits is told, and it is recorded when there is room."""
    monkeypatch.setattr(waits, "DOUBT_SECONDS", 1.0)
    home = small_disk / "home"
    with Manager.open(home, database_url=f"sqlite:///{tmp_path}/events.db") as manager:
        manager.spawn(program(home, "sleep", "1000"), "it")
        filler = _fill(small_disk)
        with pytest.raises(StoreUnavailable, match=r"cannot record that it was stopped: .* into the home"):
            manager.stop("it")
        assert types(manager, "it")[-1] == "SIGTERM_SENT"
        filler.unlink()
        assert manager.wait("it").state == "CANCELLED"


@pytest.mark.root
def test_a_manager_was_not_closed_that_could_not_record_the_stops_before(small_disk: Path) -> None:
    """Its home stayed taken: now it lets go of it, and the next one records them."""
    home = small_disk / "home"
    manager = Manager.open(home)
    manager.spawn(program(home, "sleep", "1000"), "it")
    filler = _fill(small_disk)
    with pytest.raises(StoreUnavailable, match="cannot record that it was stopped"):
        manager.close(stop_agents=True)
    filler.unlink()
    with Manager.open(home) as manager:
        assert manager.wait("it", timeout=60).state == "CANCELLED"


@pytest.mark.root
def test_a_signal_was_sent_that_could_not_be_recorded(small_disk: Path) -> None:
    """Nor is anything stopped that could not be started again: both are refused, and nothing of them follows."""
    home = small_disk / "home"
    with Manager.open(home) as manager:
        it = manager.spawn(program(home, "sleep", "1000"), "it")
        filler = _fill(small_disk)
        with pytest.raises(
            StoreUnavailable, match=r"cannot signal it: .* the disk is full; nothing was sent: try"
        ):
            manager.signal("it", 10)
        with pytest.raises(
            StoreUnavailable, match=r"cannot restart it: .* the disk is full; it is left as it is"
        ):
            manager.restart("it")
        with pytest.raises(
            StoreUnavailable, match=r"cannot start new: .* the disk is full; it was not started: try"
        ):
            manager.spawn(program(home, "sleep", "1000"), "new")
        with pytest.raises(StoreUnavailable, match=r"cannot start 2 agents: .*; they were not started: try"):
            manager.spawn_many([(None, program(home, "sleep", "1000"))] * 2)
        assert manager.health("it").is_ok, "it is looked at all the same"
        filler.unlink()
        eventually(lambda: "HEALTH_CHANGED" in types(manager, "it"), "the log is caught up")
        assert types(manager, "it") == ["SPAWNING", "STARTED", "RUNNING", "HEALTH_CHANGED"]
        assert runs(it.pid or 0)
        manager.signal("it", 10)
        assert manager.wait("it").state == "FAILED"
        _is_whole(manager)


@pytest.mark.root
def test_a_coordinator_killed_while_the_disk_is_full(small_disk: Path) -> None:
    """What was stopped and not yet recorded is found by the next coordinator: ended, as its shim saw it."""
    home = small_disk / "home"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from manager import Manager\n"
        "from tests.support.agents import program\n"
        "home = Path(sys.argv[1])\n"
        "manager = Manager.open(home)\n"
        "manager.spawn(program(home, 'sleep', '1000'), 'it')\n"
        "print('up', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    manager.stop('it')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    old = subprocess.Popen(
        [sys.executable, "-c", script, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=story.ROOT,
        env={**os.environ, "PYTHONPATH": str(story.ROOT)},
    )
    assert old.stdin is not None
    assert old.stdout is not None
    assert old.stdout.readline() == "up\n"
    filler = _fill(small_disk)
    old.stdin.write("\n")
    old.stdin.flush()
    eventually(lambda: not list(living(home)), "it is stopped")
    old.kill()
    old.communicate()
    filler.unlink()
    with Manager.open(home) as manager:
        eventually(lambda: manager.status("it").is_final, "the next one finds out")
        assert data(manager, "it", "ZOMBIE_REAPED")[0]["exit"] == {
            "kind": "signal",
            "signal": 15,
            "core_dumped": False,
        }
        _is_whole(manager)


def test_a_database_locked_by_somebody_else(home: Path) -> None:
    """A foreign program that holds the write lock for a while delays and refuses; nothing is lost or doubled."""
    with Manager.open(home) as manager:
        manager.spawn(program(home, "sleep", "1000"), "it")
        ends = manager.spawn(program(home, "sh", "-c", "sleep 0.5; exit 7"), "ends")
        lock = sqlite3.connect(home / "events.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        eventually(lambda: not runs(ends.pid or 0), "it ends meanwhile")
        before = time.monotonic()
        with pytest.raises(StoreUnavailable):
            manager.spawn(program(home, "sleep", "1000"), "refused")
        assert time.monotonic() - before < 60
        lock.execute("ROLLBACK")
        lock.close()
        eventually(lambda: manager.status("ends").is_final, "the log is caught up")
        assert data(manager, "ends", "ZOMBIE_REAPED")[0]["exit"]["code"] == 7
        assert manager.status("it").is_alive
        assert {status.name for status in manager.statuses(all=True)} == {"it", "ends"}
        _is_whole(manager)
        manager.kill_all()


def test_a_stop_was_acknowledged_while_somebody_held_the_log(home: Path) -> None:
    """Its exit is written and cannot be recorded: whoever waits is told so, and then it is recorded."""
    with Manager.open(home) as manager:
        pid = manager.spawn(program(home, "sleep", "1000"), "it").pid or 0
        with closing(sqlite3.connect(home / "events.db", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="it was stopped"):
                manager.stop("it")
            assert not runs(pid)
            lock.execute("ROLLBACK")
        assert manager.wait("it").state == "CANCELLED"
        _is_whole(manager)


@pytest.mark.root
def test_a_home_that_is_not_ours(home: Path) -> None:
    """Another owner, open modes or a file in its place: refused with what to do."""
    from manager.errors import HomeError

    home.mkdir(mode=0o755)
    home.chmod(0o755)
    with pytest.raises(HomeError, match="chmod 700"):
        Manager.open(home)
    home.chmod(0o700)
    os.chown(home, 65534, 65534)
    with pytest.raises(HomeError, match="65534"):
        Manager.open(home)
    home.rmdir()
    home.write_text("")
    with pytest.raises(HomeError):
        Manager.open(home)


def _is_whole(manager: Manager) -> None:
    store = manager._coordinator.store
    assert store.verify().is_intact
    assert check(store) == []
