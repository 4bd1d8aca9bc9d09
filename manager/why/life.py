"""An agent's life out of the material of its post-mortem, as lanes over time. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from manager.why.history import History, histories
from manager.why.lanes import Band, Kind, Life, Mark, Points
from manager.why.material import Entry, Material, Sample
from projections.quantities import duration_text
from projections.sentences import exit_text, sentence, signal_name

SECOND = 1_000_000  # microseconds
UNNOTICED_SECONDS = 1  # an end that was recorded later than this after it was noticed late
MOST_ATTEMPTS = 100  # in one picture
GAP = 4  # times the usual distance between samples: there were none meanwhile

_OUTCOMES: Mapping[str, Kind] = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "KILLED": "killed",
    "LOST": "lost",
}
_HEALTH: Mapping[str, Kind] = {"healthy": "healthy", "degraded": "degraded", "unhealthy": "unhealthy"}


def life_of(material: Material, attempt: int, now: int) -> Life:
    """All of it, up to `now` for what has not ended; of very many attempts those around `attempt`."""
    found = list(histories(material.entries, material.samples).values())
    until = min(len(found), sum(history.number <= attempt for history in found) + MOST_ATTEMPTS // 2)
    found = found[max(0, until - MOST_ATTEMPTS) : until]
    ends = [
        _end(history, following, now) for history, following in zip(found, [*found[1:], None], strict=True)
    ]
    last = found[-1].after or found[-1].entries
    is_over = found[-1].outcome is not None
    end = max(ends[-1], last[-1].at) if is_over else max(now, ends[-1])
    lives = list(zip(found, ends, strict=True))
    start = found[0].entries[0].at
    life = Life(
        start=start,
        end=end,
        attempts=tuple(_attempt(history, until) for history, until in lives),
        states=tuple(band for history, until in lives for band in _states(history, until, now)),
        stops=tuple(band for history, until in lives for band in _stops(history, until)),
        signals=tuple(mark for history, until in lives for mark in _signals(history, until)),
        health=tuple(band for history, until in lives for band in _health(history, until)),
        memory=_runs([(one, one.memory_bytes) for one in material.samples]),
        cpu=_runs([(one, one.cpu_percent) for one in material.samples]),
        coordinators=_coordinators(material, end),
    )
    return life.within(start, end)


def _end(history: History, following: History | None, now: int) -> int:
    """When the process was over, as far as is known; else when that was recorded, or it is still there."""
    if history.ended_at is not None:
        return max(history.ended_at, history.entries[0].at)
    over = history.reaped or history.outcome
    if over is not None:
        return over.at
    return now if following is None else following.entries[0].at


def _attempt(history: History, end: int) -> Band:
    how = "" if history.exit is None else f", {exit_text(history.exit)}"
    is_seen = history.outcome is None or history.ended_at is not None
    ran = f", {duration_text((end - history.entries[0].at) / SECOND)} long" if is_seen else ""
    return Band(
        start=history.entries[0].at,
        end=end,
        kind="open" if history.outcome is None else _OUTCOMES[history.outcome.type],
        label=f"{history.number} {history.state}",
        title=f"attempt {history.number}: {history.state}{how}{ran}",
        short=str(history.number),
    )


def _states(history: History, end: int, now: int) -> list[Band]:
    steps: list[tuple[int, Kind, str]] = [(history.entries[0].at, "starting", "starting")]
    running, stop = history.first("RUNNING"), history.stop
    if running is not None:
        steps.append((running.at, "running", "running"))
    if stop is not None:
        steps.append((stop.at, "stopping", "stopping"))
    seen_until = end
    if history.reaped is not None and history.ended_at is None:
        # Nobody saw the end: it was after the last that is known of it.
        seen_until = max(_not_before(history), steps[-1][0])
    bands = []
    for (at, kind, label), until in zip(steps, [*(at for at, _, _ in steps[1:]), seen_until], strict=True):
        bands.append(_band(at, until, kind, label))
    if seen_until < end:
        bands.append(
            _band(seen_until, end, "unseen", "ended in here", "it ended in this time; nobody saw when")
        )
    elif history.reaped is not None and history.reaped.at - end > UNNOTICED_SECONDS * SECOND:
        bands.append(
            _band(end, history.reaped.at, "unseen", "not noticed yet", "it had ended, and nobody had noticed")
        )
    due = next((entry for entry in history.after if entry.type == "RESTART_SCHEDULED"), None)
    if due is not None:
        until = min(now, due.data.get("due_at") or due.at)
        bands.append(_band(due.at, until, "waiting", "waiting", sentence(due.type, due.data)))
    return bands


def _not_before(history: History) -> int:
    told = (history.exit or {}).get("not_before_at")
    before = [entry.at for entry in history.entries if entry.type not in ("ZOMBIE_REAPED", "LOST")]
    return told if isinstance(told, int) else before[-1]


def _stops(history: History, end: int) -> list[Band]:
    steps: list[tuple[Entry, Kind, str]] = []
    for entry in history.entries:
        match entry.type:
            case "STOP_REQUESTED":
                steps.append((entry, "asked", "asked"))
            case "SIGTERM_SENT":
                steps.append(
                    (entry, "term", "SIGTERM" if entry.data.get("stage") == 1 else "SIGTERM to tree")
                )
            case "SIGKILL_SENT":
                steps.append((entry, "kill", "SIGKILL"))
            case "STOP_TIMED_OUT":
                steps.append((entry, "late", "timed out"))
    untils = [*(entry.at for entry, _, _ in steps[1:]), end]
    return [
        _band(entry.at, until, kind, label, sentence(entry.type, entry.data))
        for (entry, kind, label), until in zip(steps, untils, strict=False)
    ]


def _signals(history: History, end: int) -> list[Mark]:
    marks = []
    for entry in history.all("SIGTERM_SENT", "SIGKILL_SENT", "SIGNAL_SENT"):
        number = entry.data.get("signal") if entry.type == "SIGNAL_SENT" else None
        label = entry.type.removesuffix("_SENT") if number is None else signal_name(int(number))
        title = f"{sentence(entry.type, entry.data)}, by {entry.row.actor}"
        marks.append(Mark(at=entry.at, label=label, title=title, is_ours=True))
    ended = history.exit or {}
    if ended.get("kind") == "signal" and not history.sent(int(ended["signal"])):
        name = signal_name(int(ended["signal"]))
        by_kernel = bool(history.reaped and history.reaped.data.get("oom_killed"))
        who = "the kernel, for want of memory" if by_kernel else "somebody else; who is unknown"
        marks.append(Mark(at=end, label=name, title=f"{name}, sent by {who}", is_ours=False))
    return marks


def _health(history: History, end: int) -> list[Band]:
    changes = history.all("HEALTH_CHANGED")
    if not changes:
        return []
    begin = (history.first("STARTED") or history.entries[0]).at
    steps = [(begin, str(changes[0].data.get("previous")), "as it was started")]
    steps += [(one.at, str(one.data.get("health")), sentence(one.type, one.data)) for one in changes]
    untils = [*(at for at, _, _ in steps[1:]), end]
    return [
        _band(at, until, _HEALTH.get(health, "unknown"), health, title)
        for (at, health, title), until in zip(steps, untils, strict=True)
    ]


def _coordinators(material: Material, end: int) -> tuple[Band, ...]:
    """Up from its start to its stop; without a stop to its last sign of life, and lost from there to the next start."""
    starts = [entry for entry in material.home if entry.type == "COORDINATOR_STARTED"]
    stopped = {entry.row.epoch for entry in material.home if entry.type == "COORDINATOR_STOPPED"}
    signs: dict[int, int] = {}
    for one in (*material.home, *material.entries):
        signs[one.row.epoch] = max(one.at, signs.get(one.row.epoch, 0))
    sampled = [one.sampled_at for one in material.samples]
    bands = []
    for entry, following in zip(starts, [*starts[1:], None], strict=False):
        epoch = entry.row.epoch
        limit = end if following is None else following.at
        before = bisect_right(sampled, limit)
        last = max(entry.at, signs[epoch], *sampled[max(0, before - 1) : before])
        name = f"epoch {entry.data.get('epoch')}"
        bands.append(
            _band(entry.at, last, "up", name, f"coordinator of {name}, process {entry.data.get('pid')}")
        )
        if epoch not in stopped and last < limit:
            title = f"no sign of the coordinator of {name}" + (
                "" if following is None else "; it did not stop in order"
            )
            bands.append(_band(last, limit, "lost", "no sign", title))
    return tuple(bands)


def _runs(values: Sequence[tuple[Sample, float | None]]) -> tuple[Points, ...]:
    """Lines through samples, one an attempt, broken where there were none for a while."""
    known = [(one, value) for one, value in values if value is not None]
    steps = [after.sampled_at - before.sampled_at for (before, _), (after, _) in pairwise(known)]
    usual = median(steps) if steps else 0
    runs: list[list[tuple[int, float]]] = []
    previous: Sample | None = None
    for one, value in known:
        if (
            previous is None
            or previous.attempt != one.attempt
            or one.sampled_at - previous.sampled_at > GAP * usual
        ):
            runs.append([])
        runs[-1].append((one.sampled_at, float(value)))
        previous = one
    return tuple(map(tuple, runs))


def _band(start: int, end: int, kind: Kind, label: str, title: str = "") -> Band:
    end = max(start, end)
    return Band(
        start=start,
        end=end,
        kind=kind,
        label=label,
        title=f"{title or label} ({duration_text((end - start) / SECOND)})",
    )
