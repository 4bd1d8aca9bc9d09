"""What lies in an attempt's directory for people and scripts that look at files."""

import json
from pathlib import Path

import pytest

from eventstore.errors import StoreDamaged
from manager import Manager, StartFailed
from manager.statusfiles import StatusFiles, write_file
from tests.support.agents import program, shell
from tests.support.processes import eventually
from tests.support.states import STATES


def test_status_json_follows_the_agent(manager: Manager, home: Path) -> None:
    """`status.json` says the state, soon after the log does."""
    agent = manager.spawn(program(home, "sleep", "1000"), "it")
    path = home / agent.directory / "status.json"

    def state() -> str:
        told = path.read_text() if path.exists() else ""
        return str(json.loads(told)["state"]) if told else ""  # it is there a moment before what it says

    eventually(lambda: state() == "RUNNING", "the file says RUNNING")
    manager.stop("it")
    eventually(lambda: state() == "CANCELLED", "the file says CANCELLED")


def test_error_log_tells_a_failure(manager: Manager, home: Path) -> None:
    """`error.log` is there when, and only when, an attempt failed, and says why."""
    failed = manager.wait(manager.spawn(shell(home, "sleep 0.3; echo no disk >&2; exit 3"), "bad"))
    path = home / failed.directory / "error.log"
    eventually(lambda: path.exists() and path.read_text(), "the failure is written")
    assert "3" in path.read_text()
    assert "no disk" in path.read_text()
    good = manager.wait(manager.spawn(program(home, "true"), "good"))
    eventually((home / good.directory / "status.json").exists, "its status is written")
    assert not (home / good.directory / "error.log").exists()
    with pytest.raises(StartFailed) as caught:
        manager.spawn(program(home, "/nowhere"), "never")
    eventually((home / caught.value.status.directory / "error.log").exists, "the failed start is written")


def test_files_are_private(manager: Manager, home: Path) -> None:
    """0700 and 0600 for everything in a home, whatever the umask: output may hold secrets."""
    manager.wait(manager.spawn(shell(home, "umask 0; echo hello; sleep 0.2"), "it"))
    for path in [home, *home.rglob("*")]:
        assert path.lstat().st_mode & 0o077 == 0, path


def test_a_log_that_was_removed_is_missed(home: Path) -> None:
    """Where agents were started, a home without its log is refused: a new log would deny that they exist."""
    with Manager.open(home=home) as manager:
        manager.spawn(program(home, "true"), "once")
    for path in home.glob("events.db*"):
        path.unlink()
    with pytest.raises(StoreDamaged, match="cannot find the log"):
        Manager.open(home=home)
    assert not (home / "events.db").exists()


def test_an_error_log_was_written_anew_with_each_change(tmp_path: Path) -> None:
    """It has been erased since, and a restart that is hurried wrote what was erased once more."""
    waiting = STATES["waiting"]
    assert waiting is not None
    attempt = tmp_path / waiting.directory
    attempt.mkdir(parents=True)
    for written in ("cause: exit", "[erased]"):
        files = StatusFiles(tmp_path)
        files.write("x", waiting)
        files.close()
        assert written in (attempt / "error.log").read_text()
        write_file(attempt / "error.log", "[erased]")


def test_the_arguments_that_a_process_shows_were_null(manager: Manager, home: Path) -> None:
    """A shell that has become another program shows that one's; a list of agents has them, too."""
    manager.spawn(shell(home, "exec sleep 1000"), "it")
    eventually(lambda: manager.status("it").as_json()["command_line"] == ["sleep", "1000"], "it is shown")
    [listed] = manager.statuses()
    assert listed.as_json()["command_line"] == ["sleep", "1000"]
