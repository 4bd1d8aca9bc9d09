"""`control.sock`: how a command asks the coordinator that holds the home. JSON lines, one request a connection.

Request `{"method", "arguments", "actor"}`; answers `{"accepted": true}` at once, then `{"result"}` or `{"error"}`.
Methods are a closed set, arguments are data, and only our own uid or root is heard (SO_PEERCRED).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eventstore import errors
from eventstore.errors import InvalidRequest, OutliveError
from manager.status import AgentStatus, RecoveryReport

MAX_REQUEST_BYTES = 4 * 1024 * 1024
ACCEPT_SECONDS = 2.0  # a coordinator that does not even accept within this time is stopped or stuck
STARTS_END_SECONDS = 2.0  # for starts under way when the coordinator leaves
_SOCKET_ADDRESS_BYTES = 107  # unix(7): sun_path has 108 with its NUL


class NoCoordinator(OutliveError):
    """Nobody answers at the socket. `was_accepted`: the request was being carried out when the answer was lost."""

    def __init__(self, message: str, *, was_accepted: bool) -> None:
        self.was_accepted = was_accepted
        super().__init__(message)


class ControlServer:
    """Listens from its construction to `close`, answering each request with what `carry_out` gives."""

    def __init__(self, path: Path, carry_out: Callable[[dict[str, Any]], Any]) -> None:
        self._carry_out = carry_out
        self._path = path
        self._connections: set[socket.socket] = set()
        self._starts = 0
        self._changed = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # the home's lock is ours, so whoever made it is gone
        with _address(path) as address:
            self._listener.bind(address)
        os.chmod(path, 0o600)
        self._listener.listen(64)
        threading.Thread(target=self._accept, name="outlive-control", daemon=True).start()

    def close(self) -> None:
        """Hear no more requests; starts under way are answered, other callers ask the next coordinator."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        with self._changed:
            self._changed.wait_for(lambda: self._starts == 0, STARTS_END_SECONDS)
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)
        try:
            with connection, contextlib.suppress(OSError):
                self._answer(connection)
        finally:
            with self._changed:
                self._connections.discard(connection)

    def _answer(self, connection: socket.socket) -> None:
        if not _is_allowed(connection):
            _send(connection, {"error": {"type": "InvalidRequest", "message": "cannot act for another user"}})
            return
        try:
            request = next(_lines(connection), None)
        except InvalidRequest as error:
            _send(connection, {"error": describe(error)})
            return
        if not isinstance(request, dict):
            _send(
                connection,
                {"error": {"type": "InvalidRequest", "message": "cannot read the request: no JSON object"}},
            )
            return
        is_start = request.get("method") in ("spawn", "restart")
        with self._changed:
            self._starts += is_start
        try:
            _send(connection, {"accepted": True})
            _send(connection, self._outcome(request))
        finally:
            with self._changed:
                self._starts -= is_start
                self._changed.notify_all()

    def _outcome(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": self._carry_out(request)}
        except OutliveError as error:
            return {"error": describe(error)}
        except (LookupError, TypeError, ValueError) as error:
            return {"error": {"type": "InvalidRequest", "message": f"cannot understand the request: {error}"}}


def ask(path: Path, method: str, arguments: dict[str, Any], *, actor: str) -> Any:
    """The coordinator's answer. Raises the error that it raised, or `NoCoordinator`."""
    was_accepted = False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ACCEPT_SECONDS)
            with _address(path) as address:
                connection.connect(address)
            _send(connection, {"method": method, "arguments": arguments, "actor": actor})
            for answer in _lines(connection):
                if "accepted" in answer:
                    was_accepted = True
                    connection.settimeout(None)
                elif "error" in answer:
                    raise rebuild(answer["error"])
                else:
                    return answer["result"]
    except OSError as error:
        raise NoCoordinator(
            f"cannot ask the coordinator at {path}: {error.strerror or error}", was_accepted=was_accepted
        ) from error
    raise NoCoordinator(
        f"cannot ask the coordinator at {path}: it left without an answer", was_accepted=was_accepted
    )


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


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message, default=_as_json).encode() + b"\n")


def _as_json(value: object) -> Any:
    if isinstance(value, AgentStatus | RecoveryReport):
        return value.as_json()
    raise TypeError(f"cannot send {type(value).__name__}")


def _lines(connection: socket.socket) -> Iterator[Any]:
    buffer = b""
    while True:
        line, separator, rest = buffer.partition(b"\n")
        if separator:
            buffer = rest
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidRequest(f"cannot read the message: {error}") from error
            continue
        piece = connection.recv(65536)
        if not piece or len(buffer) > MAX_REQUEST_BYTES:
            return
        buffer += piece


def _is_allowed(connection: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the directory's mode keeps others out
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", credentials)[1]
    return uid in (0, os.geteuid())


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
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
