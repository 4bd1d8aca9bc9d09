"""Histories of many agents by chance, with all that makes reports hard; the same seed gives the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal
from uuid import UUID

from eventstore import events as ev
from eventstore.appending import Batch
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.values import Exit, ExitedBySignal, ExitedWithCode, ExitUnknown, StoredText
from tests.support.histories import PROCESS, SPEC, reaped, spawning

Cause = Literal["exit", "signal", "failed start"]
BEGIN = 1_764_000_000_000_000  # microseconds; the middle of a day
SECOND = 1_000_000
AGENTS_A_COMMIT = 100
LINES = ("Error: worker {} timed out", "KeyError: '{}'", "cannot open /srv/{}/data: No such file", "")


def fill(store: EventStore, *, attempts: int, seed: int) -> None:
    """Append lives of agents until there are so many attempts."""
    chance = random.Random(seed)
    batches: list[Batch] = []
    agent = 0
    while attempts > 0:
        agent += 1
        events = list(life(chance, f"{agent:016x}", most=min(attempts, 8)))
        attempts -= sum(isinstance(new.event, ev.AgentSpawning) for new in events)
        batches.append(Batch(stream=f"agent/{agent:016x}", events=tuple(events), expected_version=0))
        if len(batches) == AGENTS_A_COMMIT or attempts <= 0:
            store.append_many(batches, epoch=None)
            batches.clear()


def life(chance: random.Random, agent_id: str, *, most: int) -> Iterator[NewEvent]:
    """The events of one agent with at most so many attempts."""
    at = BEGIN + chance.randrange(3 * 86_400) * SECOND
    name = chance.choice(("api", "docs", "worker", "=cmd|' /C calc'!A0", "näme"))
    labels = {} if chance.random() < 0.2 else {"team": chance.choice(("blue", "red")), 'a "b" c': "x"}
    for attempt in range(1, chance.randint(1, most) + 1):
        first = spawning(attempt, name=name)
        yield _new(chance, replace(first, spec=replace(SPEC, labels=labels)), at)
        if chance.random() < 0.05:
            yield _new(chance, _failed(attempt, "failed start", "no such file", ()), at + 10)
        else:
            at += chance.randrange(1, 500_000)
            yield _new(chance, ev.AgentStarted(attempt=attempt, process=PROCESS), at)
            yield _new(chance, ev.AgentRunning(attempt=attempt, evidence="alive"), at + 100_000)
            if chance.random() < 0.04:
                return  # it still runs
            started, at = at, at + round(chance.lognormvariate(3, 2) * SECOND) + 200_000
            yield from _end(chance, attempt, started, at)
        delay = chance.choice((0.0, 1.0, 2.5))
        at += round(delay * SECOND)
        used = attempt
        again = ev.RestartScheduled(
            attempt=attempt,
            next_attempt=attempt + 1,
            delay_seconds=delay,
            due_at=at,
            used=used,
            reason="policy",
        )
        yield _new(chance, again, at)
    # A restart that was called off ends the agent, and leaves its last attempt as it was.
    yield _new(chance, ev.AgentCancelled(attempt=attempt), at)


def _end(chance: random.Random, attempt: int, started: int, at: int) -> Iterator[NewEvent]:
    asked = chance.random() < 0.2
    if asked:
        stop = ev.StopRequested(
            attempt=attempt, cause="user", reason="enough", forced=False, grace_seconds=(1.0, 1.0, 1.0)
        )
        yield _new(chance, stop, at - 100_000)
    exit_: Exit = chance.choices(
        (
            ExitedWithCode(code=0),
            ExitedWithCode(code=chance.choice((1, 3))),
            ExitedBySignal(signal=11, core_dumped=False),
            ExitUnknown(reason="the host rebooted", not_before_at=None, not_after_at=None),
        ),
        weights=(5, 4, 1, 1),
    )[0]
    is_known = not isinstance(exit_, ExitUnknown)
    clock_was_set_back = chance.random() < 0.03
    ended = (started - 5 * SECOND if clock_was_set_back else at) if is_known else None
    yield _new(chance, replace(reaped(attempt, exit_), ended_at=ended), at)
    line = chance.choice(LINES).format(chance.randrange(1000))
    if not is_known:
        yield _new(chance, ev.AgentLost(attempt=attempt, reason="the host rebooted"), at)
    elif asked:
        yield _new(chance, chance.choice((ev.AgentCancelled, ev.AgentKilled))(attempt=attempt), at)
    elif exit_ == ExitedWithCode(code=0):
        yield _new(chance, ev.AgentCompleted(attempt=attempt), at)
    else:
        cause: Cause = "exit" if isinstance(exit_, ExitedWithCode) else "signal"
        yield _new(chance, _failed(attempt, cause, f"ended: {exit_}"[:100], (line,) if line else ()), at)


def _failed(attempt: int, cause: Cause, message: str, lines: tuple[str, ...]) -> ev.AgentFailed:
    text = "\n".join(lines)
    output = StoredText(digest=None, size_bytes=len(text.encode()), text=text) if text else None
    return ev.AgentFailed(
        attempt=attempt, cause=cause, message=message, phase=None, errno=None, last_output=output
    )


def _new(chance: random.Random, event: ev.AgentEvent, at: int) -> NewEvent:
    return NewEvent(
        event=event,
        event_id=str(UUID(int=chance.getrandbits(128))),
        occurred_at=at,
        actor=chance.choice(("uid:0/cli", "python:me")),
        correlation_id=str(UUID(int=chance.getrandbits(128))),
    )
