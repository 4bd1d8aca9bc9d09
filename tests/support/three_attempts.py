"""A log of one agent with three attempts, written by the real store: out of memory, unwatched failure, slow stop.

Its name, arguments, labels, reasons and output are hostile to a page, a terminal and a log.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from eventstore import events as ev
from eventstore import home_events
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.values import ExitedBySignal, ExitedWithCode, Health, StoredText
from manager.home import Home
from projections.agents import AgentsProjection
from tests.support.histories import BOOT, PROCESS, SPEC, reaped, spawning

AGENT = "0123456789abcdef"
BEGIN = 1_764_100_000_000_000
SECOND = 1_000_000
HOSTILE = "<script>alert('x')</script>\"'&<img src=//evil.test/x onerror=alert(2)>"
NAME = "indexer"
KILLED = ExitedBySignal(signal=9, core_dumped=False)

Step = tuple[float, ev.Event, str | None]


def write(place: Path) -> None:
    """Make the home at `place`, with the log and samples of 65 minutes."""
    home = Home(place)
    home_id = home.prepare().id
    with EventStore.open(
        f"sqlite:///{home.database}", home=home_id, host="x", inline=[AgentsProjection()], head=home.head
    ) as store:
        log = _Log(store, f"home/{home_id}")
        log.coordinator(0)
        log.append(*_first(), *_second())
        log.coordinator(2100)
        log.append(*_noticed(), *_third())
        log.append((4000, home_events.CoordinatorStopped(epoch=2, agents_left=0), "uid:0/serve"))
    _sample(home.database)


class _Log:
    def __init__(self, store: EventStore, home: str) -> None:
        self._store = store
        self._home = home
        self._versions = {home: 0}
        self._epoch = 0

    def coordinator(self, at: float) -> None:
        self._epoch = self._store.begin_epoch(
            lambda epoch: _new(
                at,
                home_events.CoordinatorStarted(epoch=epoch, pid=99, boot_id=BOOT, version="0.1.0"),
                "uid:0/serve",
            ),
            stream=self._home,
        )
        self._versions[self._home] += 1

    def append(self, *steps: Step) -> None:
        for at, event, actor in steps:
            stream = self._home if event.attempt is None else f"agent/{AGENT}"
            version = self._versions.setdefault(stream, 0)
            new = _new(at, event, actor or "coordinator")
            self._store.append(stream, [new], expected_version=version, epoch=self._epoch)
            self._versions[stream] += 1


def _new(at: float, event: ev.Event, actor: str) -> NewEvent:
    return NewEvent(
        event=event,
        event_id=str(uuid4()),
        occurred_at=_at(at),
        actor=actor,
        correlation_id=str(uuid4()),
    )


def _at(seconds: float) -> int:
    return BEGIN + round(seconds * SECOND)


def _started(at: float, attempt: int) -> list[Step]:
    spec = replace(
        SPEC, command=("python", "indexer.py", HOSTILE), labels={"team": "search", "tier": "<b>2</b>"}
    )
    return [
        (at, replace(spawning(attempt, name=NAME), spec=spec), "uid:0/cli" if attempt == 1 else None),
        (at + 0.3, ev.AgentStarted(attempt=attempt, process=PROCESS), None),
        (at + 0.5, ev.AgentRunning(attempt=attempt, evidence="alive 0.1 s after its start"), None),
    ]


def _restart(at: float, attempt: int, delay: float) -> Step:
    return (
        at,
        ev.RestartScheduled(
            attempt=attempt,
            next_attempt=attempt + 1,
            delay_seconds=delay,
            due_at=_at(at + delay),
            used=attempt,
            reason="policy after FAILED",
        ),
        None,
    )


def _failed(at: float, attempt: int, cause: str, message: str, *lines: str) -> Step:
    text = "\n".join(lines)
    failed = ev.AgentFailed(
        attempt=attempt,
        cause="oom" if cause == "oom" else "exit",
        message=message,
        phase=None,
        errno=None,
        last_output=StoredText(digest=None, size_bytes=len(text.encode()), text=text),
    )
    return at, failed, None


def _first() -> list[Step]:
    sick = ev.HealthChanged(
        attempt=1, previous=Health.HEALTHY, health=Health.DEGRADED, evidence="memory 91 % of its limit"
    )
    return [
        *_started(2, 1),
        (1300, sick, None),
        (1500, ev.SignalSent(attempt=1, signal=10, reason="dump its state"), "uid:1000/cli"),
        (1700, replace(reaped(1, KILLED), ended_at=_at(1699.8), oom_killed=True), None),
        _failed(
            1700, 1, "oom", "killed by the kernel: out of memory", "batch 811 done", "batch 812: allocating"
        ),
        _restart(1700, 1, 60),
    ]


def _second() -> list[Step]:
    return _started(1760, 2)


def _noticed() -> list[Step]:
    ended = replace(
        reaped(2, ExitedWithCode(code=3)),
        ended_at=_at(1850),
        is_recovered=True,
        leftovers=(),
        oom_killed=False,
    )
    lines = ("Traceback (most recent call last):", f"ValueError: {HOSTILE} in /srv/{'data/' * 40}file.csv")
    counts = home_events.RecoveryCompleted(
        epoch=2, reattached=0, ended=1, lost=0, never_started=0, resumed_stops=0, duration_seconds=0.2
    )
    return [
        (2100.2, ended, None),
        _failed(2100.2, 2, "exit", "ended with exit code 3", *lines),
        _restart(2100.2, 2, 120),
        (2100.3, counts, "uid:0/serve"),
    ]


def _third() -> list[Step]:
    stop = ev.StopRequested(
        attempt=3, cause="user", reason=HOSTILE, forced=False, grace_seconds=(10.0, 5.0, 5.0)
    )
    return [
        *_started(2220.2, 3),
        (3900, stop, "uid:1000/cli"),
        (3900, ev.SigtermSent(attempt=3, stage=1, deadline_at=_at(3910)), None),
        (3910, ev.SigtermSent(attempt=3, stage=2, deadline_at=_at(3915)), None),
        (3915, ev.SigkillSent(attempt=3, deadline_at=_at(3920)), None),
        (3915.3, replace(reaped(3, KILLED), ended_at=_at(3915.1)), None),
        (3915.3, ev.AgentKilled(attempt=3), None),
    ]


def _sample(database: Path) -> None:
    """Every ten seconds while a coordinator ran: memory that grows, CPU that comes and goes."""
    rows = []
    for attempt, begin, end in ((1, 3, 1699), (2, 1762, 1783), (3, 2222, 3910)):
        for number, at in enumerate(range(begin, end, 10)):
            memory = 80_000_000 + (4_500_000 * number if attempt == 1 else 5_000 * (number % 7))
            rows.append((AGENT, attempt, _at(at), float(number * 37 % 100), memory, 4, 2))
    connection = sqlite3.connect(database)
    with connection:
        connection.executemany(
            "INSERT INTO samples (agent_id, attempt, sampled_at, cpu_percent, memory_bytes, threads, processes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    connection.close()
