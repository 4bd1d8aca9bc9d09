"""What goes over `control.sock`: messages as JSON lines, errors as data, and the socket's address."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventstore import errors
from eventstore.errors import InvalidRequest, OutliveError
from manager.status import AgentStatus, Erasure, RecoveryReport

_SOCKET_ADDRESS_BYTES = 107  # unix(7): sun_path has 108 with its NUL


def describe(error: OutliveError) -> dict[str, Any]:
    """An error as data: its class, its text, and its attributes."""
    attributes = {
        name: value.as_json() if isinstance(value, AgentStatus) else value
        for name, value in vars(error).items()
        if isinstance(value, AgentStatus | str | int | float | bool | list | tuple | None)
    }
    return {"type": type(error).__name__, "message": str(error), "attributes": attributes}


def rebuild(described: dict[str, Any]) -> OutliveError:
    """The error that `describe` described, as an instance of the same class (of `OutliveError` for a stranger's)."""
    from manager import errors as ours
    from manager import launching

    known = {
        cls.__name__: cls
        for module in (errors, ours, launching)
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, OutliveError)
    }
    cls = known.get(described.get("type", ""), OutliveError)
    error = cls.__new__(cls)
    Exception.__init__(error, described.get("message", "cannot say what failed: the coordinator did not"))
    for name, value in described.get("attributes", {}).items():
        setattr(error, name, AgentStatus.from_json(value) if name == "status" else value)
    return error


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """One message, whole. Raises OSError."""
    connection.sendall(json.dumps(message, default=_as_json).encode() + b"\n")


def _as_json(value: object) -> Any:
    if isinstance(value, AgentStatus | RecoveryReport | Erasure):
        return value.as_json()
    raise TypeError(f"cannot send {type(value).__name__}")


def lines(
    connection: socket.socket, most_bytes: int | None, *, seconds: float | None = None
) -> Iterator[Any]:
    """The messages as they come. Raises `InvalidRequest` for one that is no JSON, or of more than `most_bytes`.

    Where there is such a limit, also for the beginning of one that does not go on. Raises TimeoutError when one has not
    come within `seconds`, also if it comes byte by byte.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    pieces: list[bytes] = []
    size = 0
    while piece := _receive(connection, deadline):
        while True:
            head, separator, rest = piece.partition(b"\n")
            size += len(head)
            if most_bytes is not None and size > most_bytes:
                raise InvalidRequest(f"cannot read the message: more than {most_bytes} bytes; send less")
            if not separator:
                pieces.append(head)
                break
            try:
                yield json.loads(b"".join([*pieces, head]))
            except (ValueError, RecursionError) as error:
                raise InvalidRequest(f"cannot read the message: {error}") from error
            pieces, size, piece = [], 0, rest
    if size and most_bytes is not None:
        raise InvalidRequest("cannot read the message: it ends before its line does")


def _receive(connection: socket.socket, deadline: float | None) -> bytes:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
    return connection.recv(65536)


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """An address for a socket at `path`, however long that is: by way of a descriptor of its directory."""
    if len(os.fsencode(path)) <= _SOCKET_ADDRESS_BYTES:
        yield str(path)
        return
    if sys.platform != "linux":
        raise InvalidRequest(
            f"cannot listen at {path}: socket addresses have at most {_SOCKET_ADDRESS_BYTES} bytes here; "
            "choose a home with a shorter path"
        )
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
