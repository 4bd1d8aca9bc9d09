"""The eventsourcing package on SQLite: one new aggregate an event. Importing this raises ImportError without it."""

import contextlib
import importlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_application: Any = importlib.import_module("eventsourcing.application")
_domain: Any = importlib.import_module("eventsourcing.domain")


class Agent(_domain.Aggregate):  # type: ignore[misc]
    """An aggregate whose first event holds the body; the package finds the class by its module and name."""

    class Started(_domain.Aggregate.Created):  # type: ignore[misc]
        """Its first event."""

        body: Any  # a text, or what JSON holds

    @_domain.event(Started)  # type: ignore[untyped-decorator]
    def __init__(self, body: Any) -> None:
        self.body = body


def rate(folder: Path, body: str, count: int, size: int, threads: int = 1) -> float:
    """Events a second through `Application.save`, `size` aggregates in each commit, by so many threads at once."""
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/es.db"}
    agents = [Agent(body=body) for _ in range(count)]
    with contextlib.closing(_application.Application(env=environment)) as app:
        pieces = [agents[start : start + size] for start in range(0, count, size)]

        def work(number: int) -> None:
            for piece in pieces[number::threads]:
                app.save(*piece)

        began_at = time.perf_counter()
        if threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(threads) as workers:
                list(workers.map(work, range(threads)))
        return count / (time.perf_counter() - began_at)


def replay_rate(folder: Path, body: object, count: int, size: int) -> float:
    """Events a second when all of them are read back in order and decoded, as its projections do; unchecked."""
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/es.db"}
    with contextlib.closing(_application.Application(env=environment)) as app:
        for start in range(0, count, size):
            app.save(*[Agent(body=body) for _ in range(start, min(start + size, count))])
        began_at = time.perf_counter()
        seen = 0
        while page := app.recorder.select_notifications(seen + 1, limit=size):
            for notification in page:
                app.mapper.to_domain_event(notification)
            seen += len(page)
        assert seen == count
        return count / (time.perf_counter() - began_at)
