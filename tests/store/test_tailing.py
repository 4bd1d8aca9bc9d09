"""A reader that follows by position, beside eight writers in eight processes: it misses nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import psycopg
import pytest

from eventstore import schema
from tests.store.tailing import SEQUENCE, append_by_lock, append_by_sequence, follow

pytestmark = pytest.mark.postgres
WRITERS = 8
EACH = 150


def _missed(url: str, table: str, append: Callable[[str, int, int], None]) -> tuple[int, int]:
    """How many of the rows that are there in the end the reader never saw, and how many there are."""
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append, args=(url, EACH, seed)) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    seen = follow(url, table, lambda: not any(writer.is_alive() for writer in writers))
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    with psycopg.connect(url) as connection:
        there = {row[0] for row in connection.execute(f"SELECT event_id FROM {table}".encode()).fetchall()}
    assert len(there) >= WRITERS * EACH
    return len(there - seen), len(there)


def test_a_tailing_reader_misses_nothing(url: str) -> None:
    """Positions are given in the order of the commits."""
    schema.upgrade(url)
    missed, there = _missed(url, "events", append_by_lock)
    assert missed == 0, f"{missed} of {there}"


def test_beside_a_sequence_it_would(url: str) -> None:
    """The same reader and writers, positions from a sequence: a smaller one commits later, and is never seen."""
    with psycopg.connect(url) as connection:
        connection.execute(SEQUENCE)
    missed, there = _missed(url, "tailed", append_by_sequence)
    assert missed > 0, f"none of {there}: the test cannot tell"
