"""What a client of the control socket can say and do: orders in the shape of the interface, and nothing beyond."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import InvalidRequest, OutliveError, UnknownAgent
from manager import Manager, control, launching
from manager.control import MAX_CLIENTS, MAX_REQUEST_BYTES, ask
from manager.recordable import MOST_CHARACTERS
from manager.spec import AgentSpec
from tests.support.agents import data, program
from tests.support.processes import eventually
from tests.support.promises import log_is_whole
from tests.support.tally import Tally


def test_what_runs_is_what_the_log_says(manager: Manager, home: Path, tally: Tally) -> None:
    """A client that asks for one command and describes another gets the one that is recorded."""
    spec = program(home, "sh", "-c", "echo honest; sleep 60")
    request = launching.first_request(spec, nofile=launching.descriptor_limit())
    forged = {
        **request,
        "command": ["sh", "-c", "echo forged; sleep 60"],
        "user": {"uid": 65534, "gid": 65534, "groups": []},
        "attempt_dir": "/tmp/elsewhere",
        "until": "tree",
        "rlimits": {"CORE": [0, 0]},
    }
    arguments = {"spec": spec.model_dump(mode="json"), "name": "it", "request": forged, "wait": True}
    ask(home / "control.sock", "spawn", arguments, actor="me")
    status = manager.status("it")
    output = home / status.directory / "stdout.log"
    eventually(lambda: output.read_text() == "honest\n", "the recorded command has spoken")
    assert output.stat().st_uid == os.getuid()
    tally("security 8 limits and shapes of requests")


SURROUNDINGS: list[dict[str, Any]] = [
    {"env": {"A": 1}},
    {"env": {"A": "x\0y"}},
    {"env": [["A", "1"]]},
    {"env": None},
    {"env": {"A": "\ud800"}},
    {"env": {"A=B": "x"}},
    {"env": {"": "x"}},
    {"cwd": "relative"},
    {"cwd": "/\ud800"},
    {"cwd": None},
    {"cwd": "/a\0b"},
    {"umask": True},
    {"umask": 0o1000},
    {"umask": -1},
    {"umask": "022"},
    {"nofile": [1]},
    {"nofile": ["1", "2"]},
    {"nofile": [10**30, 10**30]},
    {"nofile": None},
]


@pytest.mark.parametrize("changed", SURROUNDINGS, ids=str)
def test_impossible_surroundings_are_refused(manager: Manager, home: Path, changed: dict[str, Any]) -> None:
    """A request that no process can be started with is refused before anything is recorded."""
    spec = program(home, "true")
    request = {**launching.first_request(spec, nofile=(64, 64)), **changed}
    arguments = {"spec": spec.model_dump(mode="json"), "name": "it", "request": request, "wait": True}
    with pytest.raises(InvalidRequest):
        ask(home / "control.sock", "spawn", arguments, actor="me")
    assert manager.statuses(all=True) == []


REASONS = ["x" * (MOST_CHARACTERS + 1), "x" * 70_000, 5, ["a"], {"a": 1}]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: str(reason)[:20])
def test_a_reason_that_cannot_be_recorded_is_refused(manager: Manager, home: Path, reason: object) -> None:
    """It harms neither the coordinator nor the next order."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    with pytest.raises(InvalidRequest):
        ask(home / "control.sock", "stop", {"agents": ["it"], "reason": reason}, actor="me")
    assert manager.stop("it", reason="why\0not \udcff ü").state == "CANCELLED"
    assert data(manager, "it", "STOP_REQUESTED")[-1]["reason"] == "why\\x00not \\xff ü"


CLAIMS = [
    "root",
    "uid:99999/cli",
    f"uid:{os.getuid()}",
    "a\nb",
    "\x1b]0;x\x07",
    "",
    7,
    None,
    ["a"],
    "x" * 5000,
    "\ud800",
    "a\0b",
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: repr(claim)[:20])
def test_nobody_acts_under_another_uid_than_their_own(manager: Manager, home: Path, claim: Any) -> None:
    """The log says the uid that the kernel vouches for, whatever the client calls itself."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    ask(home / "control.sock", "signal", {"agent": "it", "signum": 18}, actor=claim)
    [actor] = [event.actor for event in manager.events(agent="it") if event.type == "SIGNAL_SENT"]
    assert actor.startswith(f"uid:{os.getuid()}/")
    assert actor.isprintable()
    assert len(actor) < 250
    log_is_whole(manager)


def test_a_request_has_a_largest_size_and_depth(manager: Manager, home: Path, tally: Tally) -> None:
    """One byte too many is refused with the number that is allowed; so is JSON without a bottom."""
    head, tail = b'{"method": "recover", "arguments": {}, "more": "', b'"}\n'
    fits = head + b"x" * (MAX_REQUEST_BYTES - len(head) - len(tail) + 1) + tail
    assert "result" in _say(home, fits)[-1]
    assert str(MAX_REQUEST_BYTES) in str(_say(home, head + b"x" + fits[len(head) :])[-1]["error"])
    for deep in (b"[" * 200_000, b'{"a":' * 200_000, b'{"method": "wait", "arguments": ' + b"[" * 100_000):
        assert "error" in _say(home, deep + b"\n")[-1]
    assert ask(home / "control.sock", "recover", {}, actor="me")["lost"] == 0
    del manager
    tally("security 8 limits and shapes of requests", runs=5)


ODD_ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("stop", {"agents": ["it"], "grace": [10**400, 1, 1]}),  # no answer came: too large for a float
    ("stop", {"agents": ["it"], "grace": [1, 2, 3, 4]}),
    ("stop", {"agents": ["it"], "forced": "no"}),
    ("signal", {"agent": "it", "signum": True}),  # was sent as 1
    ("signal", {"agent": "it", "signum": 18.5}),
    ("signal", {"agent": "\ud800", "signum": 18}),
    ("wait", {"agents": ["it"], "any": False, "timeout": float("nan")}),  # looked as often as it could
    ("restart", {"agent": "it", "reason": None, "wait": 1}),
    ("recover", {"more": 1}),
]


@pytest.mark.parametrize(("method", "arguments"), ODD_ARGUMENTS, ids=str)
def test_arguments_of_another_type_are_refused(
    manager: Manager, home: Path, method: str, arguments: dict[str, Any]
) -> None:
    """A truth is no number and no number a truth; what is refused is not recorded."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    with pytest.raises((InvalidRequest, UnknownAgent)):
        ask(home / "control.sock", method, arguments, actor="me")
    assert not [event for event in manager.events() if event.actor.endswith("/me")]


def test_a_request_may_hold_a_large_environment(manager: Manager, home: Path) -> None:
    """More than 1 MiB: the system takes 2 MiB, and whoever has that much is not kept from starting agents."""
    large = {f"LARGE_{number}": "x" * 100_000 for number in range(15)}
    spec = program(home, "sh", "-c", "echo ${#LARGE_14}")
    request = launching.first_request(spec, nofile=(64, 64))
    request["env"] |= large
    arguments = {"spec": spec.model_dump(mode="json"), "name": "it", "request": request, "wait": True}
    status = ask(home / "control.sock", "spawn", arguments, actor="me")
    manager.wait("it")
    assert (home / status["directory"] / "stdout.log").read_text() == "100000\n"


def test_a_request_that_comes_byte_by_byte_is_given_up(
    manager: Manager, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is counted as a whole: a byte now and then does not keep a place for hours."""
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.3)
    with _connections(home, 1) as [connection]:

        def is_refused() -> bool:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(b" ")
            return bool(select.select([connection], [], [], 0.05)[0])

        eventually(is_refused, "it is given up")
        answer = json.loads(connection.recv(65536))
    assert "did not come within 0.3 s" in answer["error"]["message"]
    del manager


def test_clients_beyond_the_limit_are_told_so(
    manager: Manager, home: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that say nothing take the places for some seconds at the most; the next one is told to wait."""
    monkeypatch.setattr(control, "REQUEST_SECONDS", 4.0)
    with _connections(home, MAX_CLIENTS):

        def is_told() -> bool:
            try:
                ask(home / "control.sock", "recover", {}, actor="me")
            except OutliveError as error:  # or there is no room for one more that has not been accepted yet
                return f"{MAX_CLIENTS} requests at once" in str(error)
            return False

        eventually(is_told, "the next one is told to wait")

        def is_heard() -> bool:
            with contextlib.suppress(OutliveError):
                return bool(ask(home / "control.sock", "recover", {}, actor="me")["lost"] == 0)
            return False

        eventually(is_heard, "places are free again")
    del manager
    tally("security 8 limits and shapes of requests")


def test_one_who_hangs_up_gives_the_place_back(manager: Manager, home: Path, tally: Tally) -> None:
    """As many waits as there are places, all of them interrupted, do not lock the next client out."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    wait = {"method": "wait", "arguments": {"agents": ["it"], "any": False, "timeout": None}, "actor": "me"}
    with _connections(home, MAX_CLIENTS) as waiting:
        for connection in waiting:
            connection.sendall(json.dumps(wait).encode() + b"\n")

    def is_heard() -> bool:
        with contextlib.suppress(OutliveError):
            return bool(ask(home / "control.sock", "recover", {}, actor="me")["lost"] == 0)
        return False

    eventually(is_heard, "places are free again")
    tally("security 8 limits and shapes of requests")


def test_what_is_not_a_socket_is_not_removed(home: Path) -> None:
    """A file that somebody keeps under the socket's name makes opening fail, and stays."""
    with Manager.open(home):
        pass
    (home / "control.sock").write_text("mine")
    with pytest.raises(OutliveError, match=r"control\.sock"):
        Manager.open(home)
    assert (home / "control.sock").read_text() == "mine"


def test_a_wait_by_another_process_ends_with_its_agent(manager: Manager, home: Path) -> None:
    """A wait that goes on for longer than a look at the client is answered all the same, and in time."""
    manager.spawn(AgentSpec(command=("sleep", "1.5"), env=program(home, "true").env), "it")
    arguments: dict[str, Any] = {"agents": ["it"], "any": False, "timeout": None}
    assert ask(home / "control.sock", "wait", arguments, actor="me")[0]["state"] == "COMPLETED"
    manager.spawn(program(home, "sleep", "1000"), "long")
    with pytest.raises(OutliveError, match="cannot wait longer"):
        ask(home / "control.sock", "wait", {"agents": ["long"], "any": False, "timeout": 1.1}, actor="me")


@contextmanager
def _connections(home: Path, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.settimeout(30)
            eventually(lambda connection=connection: _is_connected(connection, home), "the listener has room")  # type: ignore[misc]
            opened.append(connection)
        yield opened


def _is_connected(connection: socket.socket, home: Path) -> bool:
    try:
        connection.connect(str(home / "control.sock"))
    except BlockingIOError:  # as many as the listener keeps have not been accepted yet
        return False
    return True


def _say(home: Path, content: bytes) -> list[dict[str, Any]]:
    """What comes back."""
    with _connections(home, 1) as [connection]:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(content)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return [json.loads(line) for line in received.splitlines()]
