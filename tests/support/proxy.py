"""A way to a PostgreSQL server that can be cut, fall silent, lose or keep back a COMMIT, or lose the answer to it."""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.support.cluster import PORT

State = Literal["open", "cut", "silent"]
COMMIT = b"COMMIT\0"  # at the end of a message; "READ COMMITTED" is in that which begins a transaction
READY = b"Z\0\0\0\5I"  # at the end of the server's answer: in no transaction, ready for the next message
_LOOK_SECONDS = 0.02


class Proxy:
    """Listens in `directory` as the server does in its own. `asked`: how often a client said something.

    The next `loses` answers to a COMMIT never come, `lost` have not; the next `drops` COMMITs never arrive. The next
    with `holds` in its message is kept back, and the way is cut; the server does not hear of that before `deliver`.
    """

    def __init__(self, directory: Path, upstream: Path) -> None:
        self._upstream = str(upstream / f".s.PGSQL.{PORT}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / f".s.PGSQL.{PORT}"))
        self._listener.listen(64)
        self._directory = directory
        self._is_over = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.state: State = "open"
        self.loses = self.drops = 0
        self.lost = 0
        self.asked = 0
        self.holds = b""
        self.held: list[tuple[socket.socket, bytes]] = []

    def url(self, url: str) -> str:
        """The same database, through here."""
        before, _, _ = url.partition("?")
        return f"{before}?host={self._directory}&port={PORT}"

    def deliver(self) -> None:
        """Let what was kept back arrive; return when the server has answered it, or has ended that session."""
        while self.held:
            server, data = self.held.pop()
            with server, contextlib.suppress(ConnectionError):
                server.sendall(data)
                while data and not data.endswith(READY):
                    data = server.recv(65536)

    def close(self) -> None:
        """End every connection."""
        self._is_over = True
        for server, _ in self.held:
            server.close()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _is_cut(self) -> bool:
        return self.state == "cut"

    def _accept(self) -> None:
        self._listener.settimeout(_LOOK_SECONDS)
        while not self._is_over:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._carry, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, contextlib.suppress(OSError):
            if self._is_cut():
                return
            server.connect(self._upstream)
            is_lost = False
            while not self._is_over and not self._is_cut():
                readable, _, _ = select.select([client, server], [], [], _LOOK_SECONDS)
                if self.state == "silent":
                    threading.Event().wait(_LOOK_SECONDS)
                    continue
                for one in readable:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is client:
                        self.asked += 1
                        if self.drops > 0 and COMMIT in data:
                            self.drops -= 1
                            return
                        if self.holds and self.holds in data and COMMIT in data:
                            self.holds, self.state = b"", "cut"
                            self.held.append((server.dup(), data))
                            return
                        is_lost = self.loses > 0 and COMMIT in data
                        server.sendall(data)
                    elif is_lost:
                        self.loses -= 1
                        self.lost += 1
                        return
                    else:
                        client.sendall(data)


@contextmanager
def proxied(upstream: Path) -> Iterator[Proxy]:
    """A proxy of the server whose socket is in `upstream`."""
    with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as directory:
        proxy = Proxy(Path(directory), upstream)
        try:
            yield proxy
        finally:
            proxy.close()
