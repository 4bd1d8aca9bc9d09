"""Putting a post-mortem together out of its material. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventstore.payloads import Found
from eventstore.record import Head
from manager.why.history import History, histories
from manager.why.likeness import alike
from manager.why.material import FAILURES, Entry, Material, Sample
from manager.why.model import PostMortem
from manager.why.parts import (
    Aftermath,
    Asked,
    EarlierFailure,
    Followed,
    LeftOver,
    NextAttempt,
    Proof,
    Trend,
    What,
)
from manager.why.verdict import verdict
from projections.fingerprint import error_line

MICROSECONDS = 1_000_000
MOST_EVENTS = 200  # of an attempt; what began it is kept, and the last
FIRST_EVENTS = 4

_ASKED: Mapping[str, What] = {
    "SPAWNING": "start",
    "STOP_REQUESTED": "stop",
    "SIGNAL_SENT": "signal",
    "RESTART_SCHEDULED": "restart",
    "CANCELLED": "cancel",
}
_AFTERMATHS: Mapping[str, Aftermath] = {  # the last word first
    "CANCELLED": "cancelled",
    "RESTART_GIVEN_UP": "gave up",
    "RESTART_SCHEDULED": "restart due",
}


def post_mortem(material: Material, attempt: int | None = None) -> PostMortem:
    """What is known of an attempt, by default of the last one. Raises `KeyError` for one that there was not."""
    found = histories(material.entries, material.samples)
    number = max(found) if attempt is None else attempt
    history = found[number]
    is_last = number == max(found)
    home = _around(material.home, history)
    samples = tuple(sample for sample in material.samples if sample.attempt == number)
    written = material.last_output.get(number, Found(()))
    events, omitted = _bounded(history.entries)
    started = history.first("STARTED")
    ended = _ended_at(history)
    resources = None if history.reaped is None else history.reaped.data.get("resources")
    first, last = history.entries[0], (*history.entries, *history.after)[-1]
    return PostMortem(
        agent_id=material.agent_id,
        name=material.name,
        attempt=number,
        attempts=max(found),
        state=history.state,
        command=tuple(history.spec.get("command", ())),
        labels=dict(history.spec.get("labels") or {}),
        requested_at=first.at,
        started_at=None if started is None else started.at,
        ended_at=ended,
        runtime_seconds=_seconds(started, ended),
        verdict=verdict(history, material.home, is_alive=material.is_alive if is_last else None),
        asked=_asked(history, material.entries[0]),
        events=events,
        omitted_events=omitted,
        home_events=home,
        samples=samples,
        trend=trend(samples),
        resources=resources,
        last_output=written.shown,
        last_output_stream=written.stream,
        error_line=error_line(written.lines),
        left_over=_left_over(history),
        followed=_followed(history, found.get(number + 1), material.home),
        alike=alike(history, material, written),
        last_failure=_last_failure(found, number, material),
        proof=Proof(
            first=_head(first),
            last=_head(last),
            head=material.head,
            outside=material.outside,
            checkpoint=material.checkpoint,
            wrong=material.wrong,
        ),
        as_of=material.as_of,
    )


def trend(samples: Sequence[Sample]) -> Trend | None:
    """How memory and CPU went; the slope of memory is that of the line through all its samples."""
    if not samples:
        return None
    memory = [(one.sampled_at, one.memory_bytes) for one in samples if one.memory_bytes is not None]
    cpu = [one.cpu_percent for one in samples if one.cpu_percent is not None]
    return Trend(
        count=len(samples),
        first_at=samples[0].sampled_at,
        last_at=samples[-1].sampled_at,
        memory_first_bytes=memory[0][1] if memory else None,
        memory_last_bytes=memory[-1][1] if memory else None,
        memory_most_bytes=max((size for _, size in memory), default=None),
        memory_bytes_per_second=_slope(memory),
        cpu_mean_percent=round(sum(cpu) / len(cpu), 1) if cpu else None,
        cpu_last_percent=cpu[-1] if cpu else None,
    )


def _slope(points: Sequence[tuple[int, int]]) -> float | None:
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    times = [(at - points[0][0]) / MICROSECONDS for at, _ in points]
    sizes = [size for _, size in points]
    mean_time, mean_size = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((at - mean_time) ** 2 for at in times)
    together = sum((at - mean_time) * (size - mean_size) for at, size in zip(times, sizes, strict=True))
    return round(together / spread, 1)


def _asked(history: History, first: Entry) -> tuple[Asked, ...]:
    """Who started the agent, orders of people, and stops by policies; the rest is in the events."""
    entries = (*history.entries, *history.after)
    asked = [] if entries[0] is first else [_order(first, "start")]
    for entry in entries:
        what = _wanted(entry)
        if entry.type == "CANCELLED" and entry is history.outcome:
            continue  # the verdict on a stop, and no order
        if what is not None and (entry.row.actor != "coordinator" or what in ("stop", "kill")):
            asked.append(_order(entry, what))
    return tuple(asked)


def _wanted(entry: Entry) -> What | None:
    is_kill = entry.type == "STOP_REQUESTED" and bool(entry.data.get("forced"))
    return "kill" if is_kill else _ASKED.get(entry.type)


def _order(entry: Entry, what: What) -> Asked:
    return Asked(
        what=what,
        position=entry.position,
        at=entry.at,
        actor=entry.row.actor,
        reason=entry.data.get("reason"),
        cause=entry.data.get("cause") if entry.type == "STOP_REQUESTED" else None,
        signal=entry.data.get("signal") if entry.type == "SIGNAL_SENT" else None,
        correlation_id=entry.row.correlation_id,
    )


def _left_over(history: History) -> LeftOver | None:
    if history.reaped is None:
        return None
    pids = history.reaped.data.get("leftovers")
    return LeftOver(
        pids=None if pids is None else tuple(pids),
        is_tree_complete=bool(history.reaped.data.get("is_tree_complete")),
        position=history.reaped.position,
    )


def _followed(history: History, following: History | None, home: Sequence[Entry]) -> Followed:
    kinds = {entry.type for entry in history.after}
    next_attempt = None
    if following is not None:
        its = verdict(following, home)
        next_attempt = NextAttempt(
            attempt=following.number,
            state=following.state,
            cause=its.cause,
            exit=its.exit,
            ended_at=following.ended_at,
        )
    what: Aftermath = "nothing" if following is None else "restart"
    if following is None and kinds & _AFTERMATHS.keys():
        what = next(word for kind, word in _AFTERMATHS.items() if kind in kinds)
    return Followed(what=what, entries=history.after, next_attempt=next_attempt)


def _last_failure(found: Mapping[int, History], number: int, material: Material) -> EarlierFailure | None:
    """Of the attempts before one that has not failed itself."""
    outcome = found[number].outcome
    if outcome is not None and outcome.type in FAILURES:
        return None
    for earlier in sorted((n for n in found if n < number), reverse=True):
        ended = found[earlier].outcome
        if ended is None or ended.type not in FAILURES:
            continue
        its = verdict(found[earlier], material.home)
        return EarlierFailure(
            attempt=earlier,
            cause=its.cause,
            certainty=its.certainty,
            exit=its.exit,
            message=its.message,
            ended_at=found[earlier].ended_at or ended.at,
            error_line=error_line(material.last_output.get(earlier, Found(())).lines),
        )
    return None


def _around(home: Sequence[Entry], history: History) -> tuple[Entry, ...]:
    """Events of coordinators: from the one that ran when it was started to the first after its end."""
    first, end = history.entries[0], history.outcome or history.entries[-1]
    before = [entry for entry in home if entry.position < first.position]
    begin = next((i for i in reversed(range(len(before))) if before[i].type == "COORDINATOR_STARTED"), 0)
    within = [entry for entry in home if first.position < entry.position <= end.position]
    behind = [entry for entry in home if entry.position > end.position]
    return (*before[begin:], *within, *behind[:1])


def _bounded(entries: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], int]:
    omitted = max(0, len(entries) - MOST_EVENTS)
    if not omitted:
        return entries, 0
    return (*entries[:FIRST_EVENTS], *entries[FIRST_EVENTS + omitted :]), omitted


def _ended_at(history: History) -> int | None:
    """As somebody saw it; what was never executed ended when that was recorded."""
    outcome = history.outcome
    if history.reaped is not None or outcome is None or outcome.type == "LOST":
        return history.ended_at
    return outcome.at


def _seconds(started: Entry | None, ended: int | None) -> float | None:
    return None if started is None or ended is None else max(0, ended - started.at) / MICROSECONDS


def _head(entry: Entry) -> Head:
    return Head(entry.position, entry.row.hash, entry.row.recorded_at)
