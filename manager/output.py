"""The last lines that an attempt wrote: read from the end, in bounded memory, whatever the size of the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

TAIL_BYTES = 8192  # of each file; an event may have 64 KiB in all
MARGIN_BYTES = 8192  # before it, so that a secret on its edge is seen whole
LINE_CHARACTERS = 400


def last_lines(attempt: Path, shown: Callable[[str], str], count: int = 10) -> tuple[str, ...]:
    """The last `count` lines of stderr, or of stdout where stderr is empty; undecodable bytes replaced.

    `shown` redacts a text. None of a directory that is a link: it may be another attempt's.
    """
    if attempt.is_symlink():
        return ()
    for name in ("stderr.log", "stdout.log"):
        lines = tail(attempt / name, count, shown)
        if lines:
            return lines
    return ()


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
    text = shown(content.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"))
    return tuple(line[:LINE_CHARACTERS] for line in text[-TAIL_BYTES:].splitlines()[-count:])
