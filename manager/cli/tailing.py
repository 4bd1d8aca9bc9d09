"""Reading the files that agents write to: the last lines, and what is still to come, across attempts."""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from manager.cli import sanitize
from manager.cli.holder import is_held

if TYPE_CHECKING:
    from manager.status import AgentStatus
    from manager.view import View

Stream = Literal["stdout", "stderr"]

POLL_SECONDS = 0.1
CHUNK_BYTES = 65_536
# An agent that is gone and whose end nobody records: its coordinator needs a moment, and may not be there at all.
UNRECORDED_SECONDS = 2.0


class AgentTail:
    """One output stream of an agent, from the first byte of an attempt on, and then that of the next attempts."""

    def __init__(self, view: View, stream: Stream, *, attempt: int, is_pinned: bool = False) -> None:
        """`is_pinned`: stay with this attempt whatever follows it."""
        self._view = view
        self._stream = stream
        self._attempt = attempt
        self._is_pinned = is_pinned
        self._offset = 0

    def skip_to_last(self, status: AgentStatus, lines: int) -> None:
        """Begin with the last `lines` lines that are there now."""
        self._offset = offset_of_last_lines(self._path(status), lines)

    def read(self, status: AgentStatus) -> Iterator[bytes]:
        """What has been written since the last call, up to the attempt that `status` shows. A missing file is empty."""
        while True:
            yield from self._drain(self._path(status))
            if self._is_pinned or self._attempt >= status.attempt:
                return
            self._attempt += 1
            self._offset = 0

    def _path(self, status: AgentStatus) -> Path:
        return self._view.log_path(status, stream=self._stream, attempt=self._attempt)

    def _drain(self, path: Path) -> Iterator[bytes]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            while chunk := os.pread(descriptor, CHUNK_BYTES, self._offset):
                self._offset += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)


class Ending:
    """Whether an agent is over: by the log, or because it is gone and nobody is there to record that."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._gone_since: float | None = None

    def seen(self, status: AgentStatus) -> bool:
        """Call it with each new look; whether nothing more will come."""
        if status.is_final:
            return True
        if status.is_alive or (status.state == "BACKOFF" and is_held(self._home)):
            self._gone_since = None
            return False
        if self._gone_since is None:
            self._gone_since = time.monotonic()
        return time.monotonic() - self._gone_since > UNRECORDED_SECONDS


class Lines:
    """Chunks of bytes in, whole lines of text out. Bytes that are not UTF-8 become escapes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` completes."""
        *complete, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        return [text.removesuffix("\r") for text in complete]

    def finish(self) -> list[str]:
        """The last line where it has no end."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return [rest] if rest else []


class Passage:
    """Chunks for our own stdout or stderr: exact bytes for a file or pipe, harmless text for a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._is_terminal = os.isatty(descriptor)

    def write(self, chunk: bytes) -> None:
        """Write all of it. Raises `BrokenPipeError` when nobody reads any more."""
        if self._is_terminal:
            # A line end before which the cursor goes back is a line end; alone it would overwrite.
            text = self._decoder.decode(chunk).replace("\r\n", "\n")
            chunk = sanitize.output(text).encode("utf-8", "backslashreplace")
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]


def offset_of_last_lines(path: Path, lines: int) -> int:
    """Where in the file its last `lines` lines begin; read from the end, 64 KiB at a time."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        end = os.fstat(descriptor).st_size
        if lines <= 0:
            return end
        wanted = lines if end and os.pread(descriptor, 1, end - 1) != b"\n" else lines + 1
        while end > 0:
            start = max(0, end - CHUNK_BYTES)
            chunk = os.pread(descriptor, end - start, start)
            at = len(chunk)
            while (at := chunk.rfind(b"\n", 0, at)) >= 0:
                wanted -= 1
                if wanted == 0:
                    return start + at + 1
            end = start
        return 0
    finally:
        os.close(descriptor)
