"""control.sock: a second process asks the coordinator, and nothing that is sent there does harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import InvalidRequest, NameInUse, UnknownAgent
from manager import AsyncManager, Manager
from manager.control import MAX_REQUEST_BYTES, ask
from manager.door import open_door
from tests.support.agents import program, shell, types
from tests.support.promises import living


def test_a_second_process_asks(manager: Manager, home: Path) -> None:
    """With a coordinator at work, commands of others go through it; who asked is in the log."""
    with open_door(home, None, actor="cli:somebody") as door:
        agent = door.spawn(program(home, "sleep", "1000"), "it")
        assert manager.status("it").pid == agent.pid
        with pytest.raises(NameInUse):
            door.spawn(program(home, "sleep", "1000"), "it")
        with pytest.raises(UnknownAgent):
            door.signal("nobody", 10)
        assert door.stop(["it"])[0].state == "CANCELLED"
    actors = {event.type: event.actor for event in manager.events(agent="it")}
    assert actors["SPAWNING"] == actors["STOP_REQUESTED"] == f"uid:{os.getuid()}/cli:somebody"


def test_without_a_coordinator_a_command_is_one(home: Path) -> None:
    """Nothing has to be started first."""
    with open_door(home, None, actor="cli:somebody") as door:
        agent = door.spawn(program(home, "sleep", "1000"), "it")
    with Manager.open(home) as manager:
        assert manager.status("it").pid == agent.pid


GARBAGE = [
    b"",
    b"\n",
    b"\x00" * 1000 + b"\n",
    b"not json\n",
    b"[]\n",
    b"{}\n",
    b'"text"\n',
    b'{"method": "close"}\n',
    b'{"method": "__class__", "arguments": {}}\n',
    b'{"method": ["spawn"], "arguments": {}}\n',
    b'{"method": "stop", "arguments": []}\n',
    b'{"method": "stop", "arguments": {"agents": 7}}\n',
    b'{"method": "stop", "arguments": {"agents": ["it"], "grace": [1]}}\n',
    b'{"method": "stop", "arguments": {"agents": ["it"], "grace": ["a", "b", "c"]}}\n',
    b'{"method": "stop", "arguments": {"agents": ["it"], "more": 1}}\n',
    b'{"method": "signal", "arguments": {"agent": "it", "signum": "KILL"}}\n',
    b'{"method": "spawn", "arguments": {"spec": {"command": []}, "name": null, "request": {}, "wait": true}}\n',
    b'{"method": "spawn", "arguments": {"spec": {"command": ["true"]}, "name": 5, "request": [], "wait": true}}\n',
    b'{"method": "spawn", "arguments": {"spec": {"command": ["true"]}, "name": "x", "request": {}, "wait": true}}\n',
    b'{"method": "wait", "arguments": {"agents": ["it"], "any": false, "timeout": "soon"}}\n',
    b"[" * 100_000 + b"\n",
]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: content[:60].decode("ascii"))
def test_garbage_is_refused(manager: Manager, home: Path, content: bytes) -> None:
    """What makes no sense gets an error or nothing; the agents run on and the coordinator answers the next one."""
    pid = manager.spawn(program(home, "sleep", "1000"), "it").pid
    answer = _send(home, content)
    assert not answer or "error" in answer[-1], answer
    assert [status.pid for status in manager.statuses()] == [pid]
    assert ask(home / "control.sock", "stop", {"agents": ["it"]}, actor="me")[0]["state"] == "CANCELLED"
    assert list(living(home)) == []


def test_a_huge_request_is_cut_off(manager: Manager, home: Path) -> None:
    """A request without end takes bounded memory and then its connection."""
    answer = _send(home, b"x" * (MAX_REQUEST_BYTES + 200_000))
    assert not answer or "error" in answer[-1]
    assert ask(home / "control.sock", "recover", {}, actor="me")["lost"] == 0


def test_one_who_never_finishes_blocks_nobody(manager: Manager, home: Path) -> None:
    """Twenty connections that say half a word do not keep the next one from being heard, nor the close."""
    half = [_connect(home) for _ in range(20)]
    for connection in half:
        connection.sendall(b'{"method"')
    assert ask(home / "control.sock", "recover", {}, actor="me")["lost"] == 0
    manager.close()
    for connection in half:
        connection.close()


@pytest.mark.root
def test_another_user_is_refused(manager: Manager, home: Path) -> None:
    """Even with a home that lets others in, only our own uid or root is heard."""
    for path in (home, *home.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o755)
    (home / "control.sock").chmod(0o666)
    nobody = pwd.getpwnam("nobody")
    pid = os.fork()
    if pid == 0:  # as another user, without a new interpreter, which that user may not be able to read
        status = 1
        try:
            os.setgroups([])
            os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
            os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
            answer = _send(home, b'{"method": "recover", "arguments": {}}\n')
            status = 0 if answer and "error" in answer[-1] and "another user" in str(answer) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_home_with_a_long_path(tmp_path: Path) -> None:
    """A socket's address has 108 bytes; a home's path may have more."""
    home = tmp_path / ("x" * 120) / "home"
    with Manager.open(home) as manager, open_door(home, None, actor="me") as door:
        door.spawn(program(home, "sleep", "1000"), "it")
        assert door.kill(["it"])[0].state == "KILLED"
        assert types(manager, "it")[-1] == "KILLED"


def test_the_socket_is_private(manager: Manager, home: Path) -> None:
    """0600 in a 0700 home, whatever the umask."""
    assert (home / "control.sock").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_async_manager(home: Path) -> None:
    """The same names, awaitable; many calls at once; a cancelled wait is only no longer waited for."""

    async def story() -> list[str]:
        async with await AsyncManager.open(home) as manager:
            agents = await asyncio.gather(
                *(manager.spawn(shell(home, "sleep 1000"), f"a{n}") for n in range(5))
            )
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await manager.wait(agents[0])
            assert (await manager.status("a0")).is_alive
            assert (await manager.summary()).live == 5
            await manager.stop("a0", (0.5, 0.5, 10.0))
            await manager.kill("a1")
            with pytest.raises(InvalidRequest):
                await manager.signal("a1", 10)
            await manager.cleanup()
            return [event.type async for event in manager.events(agent="a1")]

    assert asyncio.run(story())[-1] == "KILLED"
    assert list(living(home)) == []


def test_importing_starts_nothing() -> None:
    """`import manager` opens no file of ours, and no thread."""
    script = "import manager, threading; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def _connect(home: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    connection.connect(str(home / "control.sock"))
    return connection


def _send(home: Path, content: bytes) -> list[Any]:
    """What comes back for `content` until the other side hangs up or says the final word."""
    with _connect(home) as connection:
        received = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return [json.loads(line) for line in received.splitlines()]


def test_a_wait_ended_with_its_coordinator_when_it_had_lasted_for_more_than_a_moment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had waited for the agent was taken for a search for a coordinator: now it waits on, as one itself."""
    monkeypatch.setattr("manager.door.ASK_SECONDS", 2.0)
    with ThreadPoolExecutor(1) as pool, open_door(home, None, actor="test") as door:
        with Manager.open(home) as manager:
            manager.spawn(shell(home, f"while ! [ -e {home}/go ]; do sleep 0.05; done; exit 9"), "it")
            waiting = pool.submit(door.wait, ["it"])
            time.sleep(2.5)
        (home / "go").touch()
        (ended,) = waiting.result(60)
    assert ended.exit is not None
    assert ended.exit.code == 9
