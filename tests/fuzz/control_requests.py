"""Requests to a coordinator, true and otherwise, and a client that says them in pieces and listens."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from manager import launching
from manager.spec import AgentSpec
from tests.fuzz.hostile import distorted, values

LIVING, ENDED = "living", "ended"
PATIENCE_SECONDS = 60.0
REFUSED = frozenset({"InvalidRequest", "UnknownAgent", "AmbiguousAgent", "NameInUse"})


class Answer(NamedTuple):
    """What came back before the coordinator hung up."""

    messages: list[dict[str, Any]]

    @property
    def refusal(self) -> str | None:
        """The reason, if the request was refused with nothing done; None if it was carried out, or tried."""
        error = self.messages[-1].get("error")
        return None if error is None or error["type"] not in REFUSED else str(error["message"])


def true_requests(env: dict[str, str]) -> list[dict[str, Any]]:
    """One for everything that a coordinator does, each of which would end soon."""
    spec = AgentSpec(command=("true",), env=env, start_window_seconds=0, labels={"k": "v"})
    request = launching.first_request(spec, nofile=(256, 256))
    spawn = {"spec": spec.model_dump(mode="json"), "name": None, "request": request, "wait": True}
    asked: dict[str, dict[str, Any]] = {
        "spawn": spawn,
        "stop": {"agents": [ENDED], "grace": [0.1, 0.1, 5.0], "reason": "r", "wait": True, "forced": False},
        "signal": {"agent": LIVING, "signum": 18, "reason": None},
        "restart": {"agent": ENDED, "reason": None, "wait": True},
        "wait": {"agents": [ENDED, ENDED], "any": False, "timeout": 5.0},
        "recover": {},
        "ping": {},
        "erase": {"agent": ENDED, "output": True, "reason": "r"},
    }
    more = [
        ("stop", {"agents": [LIVING], "forced": True}),
        ("restart", {**asked["restart"], "agent": LIVING}),
    ]
    return [{"method": method, "arguments": arguments} for method, arguments in (*asked.items(), *more)]


@st.composite
def mutated(draw: st.DrawFn, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """A true request with something changed in it, at any depth."""
    request = draw(st.sampled_from(requests))
    depth = draw(st.integers(0, 2))
    if depth == 0:
        return draw(distorted([request]))
    arguments = dict(request["arguments"])
    inner = sorted(name for name, value in arguments.items() if isinstance(value, dict))
    if depth == 1 or not inner:
        arguments = draw(distorted([arguments])) if arguments else draw(st.dictionaries(st.text(), values))
    else:
        name = draw(st.sampled_from(inner))
        arguments[name] = draw(distorted([arguments[name]]))
    return {**request, "arguments": arguments}


def say(path: Path, *pieces: bytes, is_half_open: bool = False) -> Answer:
    """Connect, say it, and hear the coordinator out. Fails when it goes on for longer than anybody would wait."""
    with connected(path) as connection:
        for piece in pieces:
            tell(connection, piece)
        if not is_half_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        return hear(connection)


def connected(path: Path) -> socket.socket:
    """A connection to the coordinator."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(os.fspath(path))
    return connection


def tell(connection: socket.socket, content: bytes) -> None:
    """Send it, as far as the other side takes it: a refusal may come before the end."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(content)


def hear(connection: socket.socket) -> Answer:
    """All that comes. Raises TimeoutError when that does not end."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return Answer([json.loads(line) for line in received.splitlines()])
