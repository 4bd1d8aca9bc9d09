"""The last lines that an attempt wrote: read from the end, in bounded memory, whatever the size of the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eventstore.values import Stream

OUTPUT = ("stdout.log", "stderr.log")  # in the directory of an attempt
TAIL_BYTES = 8192  # of each file; an event may have 64 KiB in all
MARGIN_BYTES = 8192  # before it, so that a secret on its edge is seen whole
LINE_CHARACTERS = 400


class LastLines(NamedTuple):
    """Some lines, and which stream they were written to; null where there are none."""

    lines: tuple[str, ...]
    stream: Stream | None


NO_LINES = LastLines((), None)


def last_lines(attempt: Path, shown: Callable[[str], str], count: int = 10) -> LastLines:
    """The last `count` lines of stderr, or of stdout where stderr is empty; undecodable bytes replaced.

    `shown` redacts a text. None of a directory that is a link: it may be another attempt's.
    """
    streams: tuple[Stream, ...] = () if attempt.is_symlink() else ("stderr", "stdout")
    for stream in streams:
        lines = tail(attempt / f"{stream}.log", count, shown)
        if lines:
            return LastLines(lines, stream)
    return NO_LINES


def tail(path: Path, count: int, shown: Callable[[str], str]) -> tuple[str, ...]:
    """The last `count` lines within the last `TAIL_BYTES` of a file, redacted; none when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        size = os.fstat(descriptor).st_size
        most = TAIL_BYTES + MARGIN_BYTES
        content = os.pread(descriptor, most, max(0, size - most))
    except OSError:
        return ()
    finally:
        os.close(descriptor)
    text = _decoded(content, shown)
    if size > most and text:
        from manager.redaction import MARK  # its patterns take a twentieth of `outlive ps`

        # It may begin within a secret, which nobody would know for one
        text = _common_end(text, _decoded(content[-TAIL_BYTES:], shown)) or MARK
    lines = text.replace("\0", "\N{REPLACEMENT CHARACTER}")[-TAIL_BYTES:].splitlines()
    return tuple(line[:LINE_CHARACTERS] for line in lines[-count:])


def _decoded(content: bytes, shown: Callable[[str], str]) -> str:
    return shown(content.decode("utf-8", "replace"))


def _common_end(one: str, other: str) -> str:
    """The end that two texts have in common.

    Of a text that was redacted with and without what is before it: what does not depend on where it was cut.
    """
    pairs = enumerate(zip(reversed(one), reversed(other), strict=False))
    size = next((size for size, (mine, its) in pairs if mine != its), min(len(one), len(other)))
    return one[len(one) - size :]
