"""Starting writer programs and collecting what they were told is stored."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent


class Acknowledged(NamedTuple):
    """One event that an append returned for."""

    stream: str
    version: int
    event_id: str


class Writer:
    """A started writer; it waits for `go`."""

    def __init__(self, url: str, name: str, *, threads: int, seconds: float, count: int, crash: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.writer", url, name, str(threads), str(seconds), str(count)],
            cwd=ROOT,
            env={**os.environ, "OUTLIVE_CRASH": crash},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self) -> None:
        """Return when its store is open."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        """Let it append."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> list[Acknowledged]:
        """What it had acknowledged when it ended."""
        assert self.process.stdout is not None
        output = (
            self.process.stdout.read()
        )  # not `communicate`: that loses what an earlier readline read ahead
        self.process.wait(timeout=60)
        parts = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
        return [Acknowledged(stream, int(version), event_id) for stream, version, event_id in parts]


@contextmanager
def writers(
    url: str, number: int, *, threads: int = 1, seconds: float = 60, count: int = 1_000_000, crash: str = ""
) -> Iterator[list[Writer]]:
    """`number` writers, all ready; killed at the end if they are still there."""
    started = [
        Writer(url, f"writer-{index}", threads=threads, seconds=seconds, count=count, crash=crash)
        for index in range(number)
    ]
    try:
        for writer in started:
            writer.wait_ready()
        yield started
    finally:
        for writer in started:
            writer.process.kill()
            writer.process.wait()
            for pipe in (writer.process.stdin, writer.process.stdout):
                if pipe is not None and not pipe.closed:
                    with suppress(BrokenPipeError):
                        pipe.close()
