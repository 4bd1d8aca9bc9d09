"""Verifying a long log in several processes: a segment each, then what the segments must have in common.

Each segment trusts the hash before it, which the segment before it has computed. Where anything is wrong, one process
reads it all again and says what and where, exactly as it does for a short log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from eventstore import chain
from eventstore.chain import Edges, Verdict
from eventstore.errors import InvalidRequest, OutliveError
from eventstore.reader import Reader
from eventstore.record import Head

LEAST_ROWS = 50_000  # for each process; starting one costs as much as verifying some 10,000

# Whatever program asks, a helper loads the few modules that it needs and not that program.
_PROGRAM = """import json, sys
path, *segment = json.load(sys.stdin)
sys.path += path
from eventstore.segments import answer
answer(*segment)"""

_Part = tuple[Verdict, Edges]


def verify(
    url: str,
    *,
    start: int = 1,
    known: Head | None = None,
    processes: int | None = None,
    least: int = LEAST_ROWS,
) -> Verdict:
    """As `Reader.verify` of the log at `url` to its end, in as many processes as it pays for (default: as there are).

    Raises what `Reader.open` and `Reader.verify` raise.
    """
    with closing(Reader.open(url)) as reader:
        start = max(start, reader.base().position + 1)
        parts = _parts(url, reader, start, processes or len(os.sched_getaffinity(0)), least)
        if not parts or not all(verdict.is_intact for verdict, _ in parts):
            return reader.verify(start=start, known=known)
        if not chain.do_fit(edges for _, edges in parts):
            return reader.verify(start=start, known=known)
        last = parts[-1][0]
        checked = sum(verdict.checked for verdict, _ in parts)
        verdict = chain.intact(last.head_position, last.head_hash, checked=checked)
        return verdict if known is None else reader.held_against(verdict, known)


def _parts(url: str, reader: Reader, start: int, processes: int, least: int) -> list[_Part]:
    """What was found in each segment, in order; nothing where one process does, or a helper failed."""
    head = reader.head().position
    count = min(processes, (head - start + 1) // least)
    if count < 2:
        return []
    size = (head - start + 1) // count
    starts = [start + size * number for number in range(count)]
    ends = [*(following - 1 for following in starts[1:]), None]
    with ExitStack() as waited_for:
        try:
            helpers = [
                waited_for.enter_context(_helper(url, *segment))
                for segment in zip(starts[1:], ends[1:], strict=True)
            ]
            parts = [reader.walk(start=start, until=ends[0])]
            return [*parts, *(_answer_of(helper) for helper in helpers)]
        except (OSError, ValueError, InvalidRequest):
            return []


def _helper(url: str, start: int, until: int | None) -> subprocess.Popen[bytes]:
    # Ctrl-C is for us to hear; whoever is started now is born deaf to it, and ends when we do.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert process.stdin is not None
    path = [*filter(None, sys.path), str(Path(__file__).resolve().parents[1])]
    with suppress(BrokenPipeError), process.stdin as asked:  # not as an argument: a URL may hold a password
        asked.write(json.dumps([path, url, start, until]).encode())
    return process


def _answer_of(helper: subprocess.Popen[bytes]) -> _Part:
    assert helper.stdout is not None
    with helper.stdout as answer:  # one that has nobody to answer to any more ends
        checked, position, head_hash, firsts, lasts, first_at, last_at = json.load(answer)
    first_versions, last_versions = (
        {stream.encode("latin-1"): version for stream, version in versions.items()}
        for versions in (firsts, lasts)
    )
    verdict = chain.intact(position, bytes.fromhex(head_hash), checked=checked)
    return verdict, Edges(first_versions, last_versions, first_at, last_at)


def answer(url: str, start: int, until: int | None) -> None:
    """Print what is found in a segment that is whole. Of any other, whoever asks finds out, and says, what is wrong."""
    with suppress(OutliveError, OSError), closing(Reader.open(url)) as reader:
        verdict, edges = reader.walk(start=start, until=until)
        if verdict.is_intact:
            firsts, lasts = (
                {stream.decode("latin-1"): version for stream, version in versions.items()}
                for versions in edges[:2]
            )
            found = (verdict.checked, verdict.head_position, verdict.head_hash.hex(), firsts, lasts)
            json.dump([*found, edges.first_recorded_at, edges.last_recorded_at], sys.stdout)
