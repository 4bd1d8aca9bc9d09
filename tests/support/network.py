"""Hosts of a test's own: network namespaces on a bridge; the way of one can be cut without a word. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MADE = "ol{}"  # names of interfaces have 15 characters


class Host:
    """One of them. `enter` before a command makes it run there, with the files and processes of the real host."""

    def __init__(self, bridge: str, number: int, subnet: str) -> None:
        self.name = f"{bridge}h{number}"
        self.enter = ("nsenter", f"--net=/run/netns/{self.name}")
        self._port = f"{bridge}p{number}"
        ip("netns", "add", self.name)
        ip("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self._port, "master", bridge, "up")
        ip("-n", self.name, "addr", "add", f"{subnet}.{number + 1}/24", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")

    def cut(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        ip("link", "set", self._port, "down")

    def mend(self) -> None:
        """As before."""
        ip("link", "set", self._port, "up")


@contextmanager
def hosts(count: int) -> Iterator[tuple[str, list[Host]]]:
    """The address of this side of a bridge, and so many hosts on it."""
    bridge = MADE.format(os.getpid() % 100_000)
    subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    made: list[Host] = []
    ip("link", "add", bridge, "type", "bridge")
    try:
        ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        made += (Host(bridge, number, subnet) for number in range(1, count + 1))
        yield f"{subnet}.1", made
    finally:
        for host in made:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", host.name)  # and its cable with it
        ip("link", "del", bridge)


def ip(*words: str) -> None:
    """A command of iproute2."""
    subprocess.run(("ip", *words), check=True, capture_output=True)
