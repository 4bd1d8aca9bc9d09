"""Whoever is refused at the control socket is in the log: who by the kernel's word, by which rule, how often."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import OutliveError
from manager import Manager
from manager.control import ask
from tests.interfaces.command_line import CommandLine
from tests.security.ordinary import Ordinary
from tests.support.agents import program
from tests.support.others import SOMEBODY
from tests.support.promises import clean_up, log_is_whole
from tests.support.tally import Tally

RECORDED = "security 10 refusals recorded"
KNOCKS = 5
KNOCKING = f"""
import os, socket, sys
for _ in range({KNOCKS}):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(sys.argv[1])
        assert "another user" in client.makefile().readline()
print(os.getpid())
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that others may pass, and on the way to which nobody else changes modes meanwhile."""
    with tempfile.TemporaryDirectory(prefix="outlive-test-") as directory:
        place = Path(directory)
        place.chmod(0o711)
        yield place
        clean_up(place / "home")


@pytest.mark.root
def test_a_stranger_is_named_once_a_minute(open_place: Path, ordinary: Ordinary, tally: Tally) -> None:
    """Nothing is carried out. The log has uid and pid, and nothing of what was asked; at the end, how many more."""
    home = open_place / "home"
    with Manager.open(home) as manager:
        agent = manager.spawn(program(home, "sleep", "1000"), "it")
        with _open_to_all(home):
            done = ordinary.runs(KNOCKING, home=home / "control.sock")
        assert done.returncode == 0, done.stderr
        assert manager.status("it").pid == agent.pid
        first = _refusals(manager)
    with Manager.open(home) as manager:
        events = _refusals(manager)
        [(actor, body)] = first
        assert actor == f"uid:{SOMEBODY}/socket"
        expected = {"uid": SOMEBODY, "pid": int(done.stdout), "rule": "another user", "method": None}
        assert body == {"epoch": 1, **expected, "refusals": 1}
        assert events == [(actor, body), (actor, {**body, "refusals": KNOCKS - 1})]
        log_is_whole(manager)
    tally("security 3 a peer of another uid", runs=KNOCKS)
    tally(RECORDED, runs=KNOCKS)


def test_orders_that_cannot_be_are_recorded(
    manager: Manager, home: Path, outlive: CommandLine, tally: Tally
) -> None:
    """What is not in the set, has no sense or is no message at all; the method only if it is one."""
    socket_path = home / "control.sock"
    for method, arguments in (
        ("signal", {"agent": "it", "signum": 999}),
        ("\x1b[2J", {}),
        ("stop", {"no": 1}),
    ):
        with pytest.raises(OutliveError):
            ask(socket_path, method, arguments, actor="me")
    for words in (b"no message\n", b"[]\n", b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(socket_path))
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            client.makefile().read()
    manager.close()
    said = outlive("events", "--type", "REQUEST_REFUSED", "--json").stdout.splitlines()
    bodies = [json.loads(line)["data"] for line in said]
    mine = {"epoch": 1, "uid": os.getuid(), "pid": os.getpid()}
    assert bodies == [
        {**mine, "rule": "not possible", "method": "signal", "refusals": 1},
        {**mine, "rule": "unreadable", "method": None, "refusals": 4},
    ]
    text = outlive("events", "--type", "REQUEST_REFUSED").stdout
    assert f"refused process {os.getpid()} of uid {os.getuid()} to signal: not possible" in text
    assert "4 since the last such event" in text
    tally(RECORDED, runs=5)


def test_an_order_that_fails_is_no_refusal(manager: Manager, home: Path) -> None:
    """An agent that is not known, a name in use: what was asked was heard and tried."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    with pytest.raises(OutliveError):
        ask(home / "control.sock", "stop", {"agents": ["nobody"]}, actor="me")
    assert _refusals(manager) == []


def _refusals(manager: Manager) -> list[tuple[str, dict[str, Any]]]:
    return [
        (event.actor, event.as_json()["data"])
        for event in manager.events()
        if event.type == "REQUEST_REFUSED"
    ]


@contextmanager
def _open_to_all(home: Path) -> Iterator[None]:
    """Its modes keep nobody out meanwhile."""
    (home / "control.sock").chmod(0o666)
    home.chmod(0o711)
    yield
    home.chmod(0o700)
    (home / "control.sock").chmod(0o600)
