"""Another user who can reach the control socket is not heard."""

from __future__ import annotations

import json
import os

import pytest

from manager.control import ControlServer
from tests.security.ordinary import Ordinary
from tests.support.tally import Tally

ASKS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    print(client.makefile().readline())
"""


@pytest.mark.root
def test_a_peer_of_another_uid_is_not_heard(ordinary: Ordinary, tally: Tally) -> None:
    """Even where the socket's mode lets them connect: the kernel says who they are, and nothing is carried out."""
    heard: list[object] = []
    path = ordinary.home.with_name("control.sock")
    server = ControlServer(path, lambda *request: heard.append(request))
    try:
        os.chmod(path, 0o666)
        done = ordinary.runs(ASKS, home=path)
    finally:
        server.close()
    assert "another user" in json.loads(done.stdout)["error"]["message"], done.stderr
    assert heard == []
    tally("security 3 a peer of another uid")
