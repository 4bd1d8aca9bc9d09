"""Verifying a long log in several processes: a segment each, then what the segments must have in common.

Each segment trusts the hash before it, which the segment before it has computed. Where anything is wrong, one process
reads it all again and says what and where, exactly as it does for a short log.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from eventstore import chain
from eventstore.chain import Edges, Verdict
from eventstore.errors import InvalidRequest, OutliveError
from eventstore.reader import Reader
from eventstore.record import Head

LEAST_ROWS = 50_000  # for each process; starting one costs as much as verifying some 30,000

_Part = tuple[Verdict, Edges]


class _Helper(NamedTuple):
    process: SpawnProcess
    answers: Connection


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
    helpers = [
        _help(url, first, starts[number + 1] - 1 if number + 1 < count else None)
        for number, first in enumerate(starts)
        if number > 0
    ]
    try:
        parts = [reader.walk(start=start, until=starts[1] - 1)]
        parts += [helper.answers.recv() for helper in helpers]
        return parts
    except (EOFError, OSError, InvalidRequest):
        return []
    finally:
        for helper in helpers:
            helper.answers.close()  # one that has nobody to answer to any more ends
        for helper in helpers:
            helper.process.join()


def _help(url: str, start: int, until: int | None) -> _Helper:
    answers, answer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_verify_segment, args=(answer, url, start, until), daemon=True
    )
    # Ctrl-C is for us to hear; whoever is started now is born deaf to it, and ends when we do.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        answer.close()
    return _Helper(process, answers)


def _verify_segment(answer: Connection, url: str, start: int, until: int | None) -> None:
    # Whatever goes wrong here goes wrong for the one that asks, too, and is said by it.
    with suppress(OutliveError, OSError), closing(Reader.open(url)) as reader:
        answer.send(reader.walk(start=start, until=until))
