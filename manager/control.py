"""`control.sock`: how a command asks the coordinator that holds the home. JSON lines, one request a connection.

Request `{"method", "arguments", "actor"}`; answers `{"accepted": true}` at once, then `{"result"}` or `{"error"}`.
Methods are a closed set, arguments are data, and only our own uid or root is heard (SO_PEERCRED). A request has at most
`MAX_REQUEST_BYTES` and comes within `REQUEST_SECONDS`; `MAX_CLIENTS` are served at a time. It may have as much as the
launcher takes, since a start brings the whole environment of whoever asks: with the command line up to 2 MiB
(execve(2)), and more in JSON.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.crashpoints import crash_point
from eventstore.errors import InvalidRequest, OutliveError
from eventstore.home_events import RefusalRule
from manager.errors import HomeError
from manager.messages import address, describe, lines, rebuild, send
from manager.process.frames import MAX_FRAME_BYTES
from manager.refusals import Refusal, RefusalLog

MAX_REQUEST_BYTES = MAX_FRAME_BYTES
MAX_CLIENTS = 256  # each has a thread, and `wait` may keep it for days
ACTOR_CHARACTERS = 200
REQUEST_SECONDS = 5.0  # for a request to arrive
ANSWER_SECONDS = 60.0  # for an answer to be taken
ACCEPT_AGAIN_SECONDS = 0.1
ACCEPT_SECONDS = 2.0  # a coordinator that does not even accept within this time is stopped or stuck
STARTS_END_SECONDS = 2.0  # for starts under way when the coordinator leaves
_NOTHING = object()


class NoCoordinator(OutliveError):
    """Nobody answers at the socket. `was_accepted`: the request was being carried out when the answer was lost."""

    def __init__(self, message: str, *, was_accepted: bool) -> None:
        self.was_accepted = was_accepted
        super().__init__(message)


class Caller(NamedTuple):
    """Who asks: `actor` is what the log will say, the uid proved by the kernel first; whether it has hung up."""

    actor: str
    is_gone: Callable[[], bool]


class _Peer(NamedTuple):
    uid: int
    pid: int | None


class ControlServer:
    """Listens from its construction to `close`, answering each request with what `carry_out` gives."""

    def __init__(
        self, path: Path, carry_out: Callable[[Caller, dict[str, Any]], Any], refusals: RefusalLog
    ) -> None:
        self._carry_out = carry_out
        self._refusals = refusals
        self._path = path
        self._connections: set[socket.socket] = set()
        self._starts = 0
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            crash_point("coordinator.before_control_socket")
            with address(path) as place:
                self._listener.bind(place)
            crash_point("coordinator.after_control_socket")
            os.chmod(path, 0o600)
            crash_point("coordinator.after_control_mode")
            self._listener.listen(64)
            crash_point("coordinator.after_listen")
            threading.Thread(target=self._accept, name="outlive-control", daemon=True).start()
        except BaseException:
            self._listener.close()
            raise

    def close(self) -> None:
        """Hear no more requests; starts under way are answered, other callers ask the next coordinator."""
        self._is_closed.set()
        crash_point("coordinator.before_deaf")
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        crash_point("coordinator.after_deaf")
        with contextlib.suppress(OSError):  # gone, or read-only: the next coordinator removes it
            self._path.unlink()
        crash_point("coordinator.after_control_socket_removed")
        with self._changed:
            self._changed.wait_for(lambda: self._starts == 0, STARTS_END_SECONDS)
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                    crash_point("coordinator.after_hanging_up")
        self._refusals.close()

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or out of descriptors: then they are heard when there are some
                self._is_closed.wait(ACCEPT_AGAIN_SECONDS)
                continue
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:  # out of threads: the end of the connection tells
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)
            is_full = len(self._connections) > MAX_CLIENTS
        try:
            with connection, contextlib.suppress(OSError):
                self._answer(connection, is_full=is_full)
        finally:
            with self._changed:
                self._connections.discard(connection)

    def _answer(self, connection: socket.socket, *, is_full: bool) -> None:
        peer = _peer(connection)
        if peer.uid not in (0, os.geteuid()):
            self._refuse(connection, peer, "another user", "cannot act for another user")
            return
        if is_full:
            message = f"cannot take more than {MAX_CLIENTS} requests at once; ask again later"
            self._refuse(connection, peer, "too many requests", message)
            return
        try:
            request = next(lines(connection, MAX_REQUEST_BYTES, seconds=REQUEST_SECONDS), _NOTHING)
        except InvalidRequest as error:
            self._refuse(connection, peer, "unreadable", str(error))
            return
        except TimeoutError:
            message = f"cannot read the request: it did not come within {REQUEST_SECONDS:g} s"
            self._refuse(connection, peer, "unreadable", message)
            return
        if request is _NOTHING:
            return
        if not isinstance(request, dict):
            self._refuse(connection, peer, "unreadable", "cannot read the request: no JSON object")
            return
        is_start = request.get("method") in ("spawn", "restart")
        with self._changed:
            self._starts += is_start
        try:
            connection.settimeout(REQUEST_SECONDS)
            crash_point("coordinator.before_accept")
            send(connection, {"accepted": True})
            crash_point("coordinator.after_accept")
            caller = Caller(_actor(request, peer.uid), lambda: _has_hung_up(connection))
            outcome = self._outcome(caller, peer, request)
            connection.settimeout(ANSWER_SECONDS)
            crash_point("coordinator.before_reply")
            send(connection, outcome)
            crash_point("coordinator.after_reply")
        finally:
            with self._changed:
                self._starts -= is_start
                self._changed.notify_all()

    def _outcome(self, caller: Caller, peer: _Peer, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": self._carry_out(caller, request)}
        except OutliveError as error:
            if isinstance(error, InvalidRequest):
                self._refusals.note(Refusal(peer.uid, peer.pid, "not possible", request.get("method")))
            return {"error": describe(error)}
        except Exception as error:  # whoever asked is told, and the next one is heard
            self._refusals.note(Refusal(peer.uid, peer.pid, "not possible", request.get("method")))
            return _refusal(f"cannot carry out the request: an unexpected {type(error).__name__}: {error}")

    def _refuse(self, connection: socket.socket, peer: _Peer, rule: RefusalRule, message: str) -> None:
        self._refusals.note(Refusal(peer.uid, peer.pid, rule, None))
        connection.settimeout(REQUEST_SECONDS)
        crash_point("coordinator.before_refusal")
        send(connection, _refusal(message))
        crash_point("coordinator.after_refusal")


def ask(
    path: Path,
    method: str,
    arguments: dict[str, Any],
    *,
    actor: str,
    answer_seconds: float | None = None,
) -> Any:
    """The coordinator's answer. Raises the error that it raised, or `NoCoordinator`, also when none comes in time."""
    was_accepted = False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ACCEPT_SECONDS)
            crash_point("client.before_connect")
            with address(path) as place:
                connection.connect(place)
            crash_point("client.after_connect")
            send(connection, {"method": method, "arguments": arguments, "actor": actor})
            crash_point("client.after_request")
            for answer in lines(connection, None):
                if "accepted" in answer:
                    crash_point("client.after_accept")
                    was_accepted = True
                    connection.settimeout(answer_seconds)
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


def _peer(connection: socket.socket) -> _Peer:
    """Who is at the other end, by the kernel's word."""
    if not hasattr(socket, "SO_PEERCRED"):
        return _Peer(os.geteuid(), None)  # the directory's mode keeps others out
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return _Peer(uid, pid or None)  # 0: from a pid namespace that ours cannot see


def _actor(request: dict[str, Any], uid: int) -> str:
    """Who it says it is, after the uid that it cannot choose."""
    claimed, proved = request.get("actor"), f"uid:{uid}"
    if not isinstance(claimed, str) or not claimed:
        return f"{proved}/control"
    claimed = claimed if claimed.startswith(f"{proved}/") else f"{proved}/{claimed}"
    return "".join(character if character.isprintable() else "?" for character in claimed[:ACTOR_CHARACTERS])


def _has_hung_up(connection: socket.socket) -> bool:
    poller = select.poll()
    poller.register(
        connection, 0
    )  # POLLHUP: both directions are closed; one who only writes no more still listens
    return bool(poller.poll(0))


def _refusal(message: str) -> dict[str, Any]:
    return {"error": {"type": "InvalidRequest", "message": message}}


def _remove_stale(path: Path) -> None:
    """Remove the socket that an earlier coordinator left; the home's lock is ours, so whoever made it is gone."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise HomeError(f"cannot listen at {path}: something else is there; move it away")
    crash_point("coordinator.before_old_control_socket")
    path.unlink()
    crash_point("coordinator.after_old_control_socket")
