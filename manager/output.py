"""The last lines that an attempt wrote: read from the end, in bounded memory, whatever the size of the file."""

from __future__ import annotations

import os
from pathlib import Path

TAIL_BYTES = 8192  # of each file; an event may have 64 KiB in all
LINE_CHARACTERS = 400


def last_lines(attempt: Path, count: int = 10) -> tuple[str, ...]:
    """The last `count` lines of stderr, or of stdout where stderr is empty; undecodable bytes replaced.

    None of a directory that is a link: it may be another attempt's.
    """
    if attempt.is_symlink():
        return ()
    for name in ("stderr.log", "stdout.log"):
        lines = tail(attempt / name, count)
        if lines:
            return lines
    return ()


def tail(path: Path, count: int, *, most_bytes: int = TAIL_BYTES) -> tuple[str, ...]:
    """The last `count` lines within the last `most_bytes` of a file; none when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        size = os.fstat(descriptor).st_size
        content = os.pread(descriptor, most_bytes, max(0, size - most_bytes))
    except OSError:
        return ()
    finally:
        os.close(descriptor)
    lines = content.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}").splitlines()
    return tuple(line[:LINE_CHARACTERS] for line in lines[-count:])
