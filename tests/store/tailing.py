"""A store that takes positions from a sequence and no lock, as many do: what a tailing reader of it misses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from uuid import uuid4

import psycopg

from eventstore.store import EventStore
from tests.support.histories import new, note

SEQUENCE = "CREATE TABLE tailed (position bigserial PRIMARY KEY, event_id text NOT NULL)"


def append_by_sequence(url: str, count: int, seed: int) -> None:
    """Appends `count` rows, each in a transaction of its own that takes its time before the commit."""
    chance = random.Random(seed)
    with psycopg.connect(url) as connection:
        for _ in range(count):
            connection.execute("INSERT INTO tailed (event_id) VALUES (%s)", (str(uuid4()),))
            time.sleep(chance.random() * 0.002)
            connection.commit()


def append_by_lock(url: str, count: int, seed: int) -> None:
    """The same through the store: batches of random size."""
    chance = random.Random(seed)
    with EventStore.open(url, home=f"home-{seed}", host="x") as store:
        version = 0
        while version < count:
            events = [new(note()) for _ in range(chance.randint(1, 3))]
            store.append(f"x/{seed}", events, expected_version=version, epoch=None)
            version += len(events)


def follow(url: str, table: str, is_over: Callable[[], bool]) -> set[str]:
    """Ids that a reader sees which asks for `position > the last one seen`, until it is over and nothing new comes."""
    query = f"SELECT position, event_id FROM {table} WHERE position > %s ORDER BY position LIMIT 50".encode()
    seen: set[str] = set()
    last = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            was_over = is_over()
            rows = connection.execute(query, (last,)).fetchall()
            if was_over and not rows:
                return seen
            seen |= {event_id for _, event_id in rows}
            last = rows[-1][0] if rows else last
