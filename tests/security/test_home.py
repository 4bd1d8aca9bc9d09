"""Nobody else looks into a home, takes its place, or has outlive write elsewhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore.errors import OutliveError
from manager import Manager
from manager.errors import HomeError
from manager.home import Home
from tests.security.ordinary import Ordinary
from tests.support.agents import program, shell
from tests.support.tally import Tally

LINKS = "security 3 links and pipes in the place of files"
MODES = "security 3 modes of a home and of all that is in it"
STORY = """
import os, stat, sys, time
from pathlib import Path
from manager import AgentSpec, Manager, StartFailed
home = Path(sys.argv[1])
def agent(text):
    return AgentSpec(command=("sh", "-c", text), env={"OUTLIVE_STORY": str(home)}, umask=0)
def open_files():
    paths = [home, *home.rglob("*")]
    names = {path.name for path in paths}
    for path in paths:
        wanted = 0o700 if path.is_dir() else 0o600
        if stat.S_IMODE(path.lstat().st_mode) != wanted:
            print(path, oct(path.lstat().st_mode))
    return names
with Manager.open(home) as manager:
    manager.wait(manager.spawn(agent("echo out; echo err >&2; sleep 0.2; exit 3"), "fails"))
    manager.spawn(agent("sleep 1000"), "runs")
    try:
        manager.spawn(AgentSpec(command=("/nowhere",)), "never")
    except StartFailed:
        pass
    attempt = home / manager.status("fails").directory
    deadline = time.monotonic() + 60
    while not (attempt / "error.log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    names = open_files()
    wanted = {"lock", "head", "home.json", "events.db", "events.db-wal", "events.db-shm", "events.db.lock",
              "control.sock", "stdout.log", "stderr.log", "status.json", "error.log", "exit.json"}
    print(*sorted(wanted - names))
with Manager.open(home) as manager:
    manager.kill("runs")
    open_files()
print(*sorted({"checkpoints.jsonl"} - open_files()))
print("whole")
"""


@pytest.mark.parametrize("umask", [0, 0o277, 0o777], ids=oct)
def test_everything_in_a_home_is_private_whatever_the_umask(
    ordinary: Ordinary, umask: int, tally: Tally
) -> None:
    """0700 and 0600 for all that a whole story leaves, while it lasts and afterwards, without root's rights."""
    home = ordinary.home.parent / "made" / "too" / "home"
    done = ordinary.runs(STORY, umask=umask, home=home)
    assert done.stdout.split() == ["whole"], (done.stdout, done.stderr)
    assert home.parent.stat().st_mode & 0o777 == 0o700
    tally(MODES)


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o702, 0o720, 0o704, 0o740, 0o755, 0o777, 0o1777], ids=oct)
def test_an_open_home_is_refused(home: Path, mode: int, tally: Tally) -> None:
    """With the command that closes it; nothing is made in it."""
    home.mkdir(mode=0o700)
    home.chmod(mode)
    with pytest.raises(HomeError, match=f"chmod 700 {home}"):
        Manager.open(home)
    assert list(home.iterdir()) == []
    tally(MODES)


@pytest.mark.root
def test_a_home_of_somebody_else_is_refused(home: Path, tally: Tally) -> None:
    """Even root does not write to it, and is told whose it is."""
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    with pytest.raises(HomeError, match=r"belongs to uid 65534.*run as its owner"):
        Manager.open(home)
    assert list(home.iterdir()) == []
    tally(MODES)


@pytest.mark.parametrize(("mode", "is_safe"), [(0o777, False), (0o757, False), (0o1777, True), (0o755, True)])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_way_that_others_can_change_is_refused(
    tmp_path: Path, mode: int, is_safe: bool, depth: int, tally: Tally
) -> None:
    """Whoever may write to a directory above could put another home in the place of ours; not if it is sticky."""
    shared = tmp_path / "shared"
    home = shared / "home" if depth == 1 else shared / "between" / "home"
    home.parent.mkdir(parents=True, mode=0o755)
    shared.chmod(mode)
    if is_safe:
        Home(home).prepare()
    else:
        with pytest.raises(HomeError, match=f"chmod go-w {shared},"):
            Home(home).prepare()
    link = tmp_path / "link"
    link.symlink_to(home)
    if not is_safe:
        home.mkdir(mode=0o700, exist_ok=True)
        with pytest.raises(HomeError, match=f"chmod go-w {shared},"):
            Home(link).prepare()
    tally(MODES)


@pytest.mark.root
def test_a_way_that_another_group_can_change_is_refused(tmp_path: Path, tally: Tally) -> None:
    """Our own group is no other."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    Home(shared / "home").prepare()
    os.chown(shared, -1, 65533)
    shared.chmod(0o775)
    with pytest.raises(HomeError, match="chmod go-w"):
        Home(shared / "home").prepare()
    tally(MODES)


def _symbolic(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _hard(path: Path, target: Path) -> None:
    os.link(target, path)


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path, _: Path) -> None:
    path.mkdir()


def _socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


PLANTS = [_symbolic, _hard, _pipe, _directory, _socket]
FILES = (
    "lock",
    "head",
    "home.json",
    "events.db",
    "events.db-wal",
    "events.db-shm",
    "events.db.lock",
    "checkpoints.jsonl",
)


@pytest.mark.damages
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("name", [*FILES, "events.db.queue"])
def test_nothing_is_written_through_what_lies_in_the_place_of_a_file(
    home: Path, name: str, plant: Callable[[Path, Path], None], tally: Tally
) -> None:
    """A link, a pipe, a directory in a home that was used: refused by its path, and what it leads to stays."""
    with Manager.open(home) as manager:
        manager.wait(manager.spawn(program(home, "true"), "it"))
    path, target = home / name, home.parent / "target"
    target.write_bytes(path.read_bytes() if path.exists() else b"mine")
    before = (target.read_bytes(), target.stat().st_mtime_ns, target.stat().st_mode)
    path.unlink(missing_ok=True)
    plant(path, target)
    with pytest.raises(OutliveError, match=str(path)):
        Manager.open(home)
    assert (target.read_bytes(), target.stat().st_mtime_ns, target.stat().st_mode) == before
    tally(LINKS)


@pytest.mark.parametrize("plant", PLANTS[:3], ids=lambda plant: plant.__name__)
def test_drafts_are_not_written_through_links(
    home: Path, plant: Callable[[Path, Path], None], tally: Tally
) -> None:
    """Drafts have names that can be told beforehand: what lies there is removed, not followed."""
    target = home.parent / "target"
    target.write_text("mine")
    home.mkdir(mode=0o700)
    for name in ("home.json", "head"):
        plant(home / f"{name}.{os.getpid()}", target)
    with Manager.open(home) as manager:
        manager.wait(manager.spawn(program(home, "true"), "it"))
    assert target.read_text() == "mine"
    tally(LINKS, runs=2)


@pytest.mark.parametrize("plant", PLANTS[:4], ids=lambda plant: plant.__name__)
def test_the_socket_is_made_or_nothing_is(
    home: Path, plant: Callable[[Path, Path], None], tally: Tally
) -> None:
    """What lies in the place of the control socket is neither followed nor removed."""
    target = home.parent / "target"
    target.write_text("mine")
    with Manager.open(home):
        pass
    plant(home / "control.sock", target)
    with pytest.raises(OutliveError, match=str(home / "control.sock")):
        Manager.open(home)
    assert os.path.lexists(home / "control.sock")
    assert target.read_text() == "mine"
    tally(LINKS)


def test_agents_are_not_started_in_a_directory_elsewhere(home: Path, tally: Tally) -> None:
    """A link in the place of `agents` is refused."""
    Home(home).prepare()
    elsewhere = home.parent / "elsewhere"
    (home / "agents").rename(elsewhere)
    (home / "agents").symlink_to(elsewhere)
    with pytest.raises(HomeError, match="agents is a symbolic link"):
        Manager.open(home)
    assert list(elsewhere.iterdir()) == []
    tally(LINKS)


def test_a_draft_that_was_left_is_no_second_name(home: Path) -> None:
    """Whoever was killed between naming a file and removing its draft does not lock the home."""
    with Manager.open(home):
        pass
    for name in ("head", "home.json"):
        os.link(home / name, home / f"{name}.999999999")
    with Manager.open(home) as manager:
        manager.wait(manager.spawn(shell(home, "exit 0"), "it"))
    assert sorted(path.name for path in home.glob("*.999999999")) == []


@pytest.mark.parametrize("length", [20, 100, 180])
def test_the_socket_has_a_path_and_no_other_name(tmp_path: Path, length: int, tally: Tally) -> None:
    """In the home, 0600, however long the path: an abstract name would have neither owner nor mode."""
    home = tmp_path / ("h" * length)
    with Manager.open(home):
        assert (home / "control.sock").is_socket()
        listening = Path("/proc/net/unix").read_text().splitlines()
        assert not [line for line in listening if "@" in line and "outlive" in line.lower()]
        assert (home / "control.sock").stat().st_mode & 0o777 == 0o600
    assert not (home / "control.sock").exists()
    tally(MODES)
