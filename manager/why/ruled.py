"""The evidence that a rule of its spec stopped an attempt: the order, what it was allowed, what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from manager.limits import limits_text, recorded_limits
from manager.silence import allowed_text
from manager.why.history import History
from manager.why.material import Entry
from manager.why.parts import Evidence
from projections.quantities import counted, duration_text, size_text


def rule_evidence(history: History, cause: Literal["limit", "health"]) -> Iterator[Evidence]:
    """In the order in which people ask: who ordered it, by which rule, after what."""
    stop, spawning = history.stop, history.first("SPAWNING")
    if stop is not None:
        reason = stop.data.get("reason")
        saying = f": {reason}" if reason else ""
        yield _event(stop, f"a stop by a {cause} rule was requested before its end{saying}")
    if spawning is not None and cause == "limit" and (told := limits_text(recorded_limits(spawning.data))):
        yield _event(spawning, f"what it was allowed: {told}")
    if spawning is not None and cause == "health" and (told := allowed_text(spawning.data)):
        yield _event(spawning, f"what it was allowed: {told}")
    if stop is not None and cause == "limit":
        yield from _last_sample(history, stop.at)
    changes = history.all("HEALTH_CHANGED")
    for entry in [one for one in changes if stop is None or one.position < stop.position][-1:]:
        yield _event(entry, f"health was then {entry.data.get('health')}: {entry.data.get('evidence')}")


def _last_sample(history: History, asked_at: int) -> Iterator[Evidence]:
    before = [one for one in history.samples if one.sampled_at <= asked_at]
    if not before:
        return
    last = before[-1]
    uses = [
        f"{size_text(last.memory_bytes)} of memory" if last.memory_bytes is not None else "",
        counted(last.processes, "process", "processes") if last.processes is not None else "",
        f"{last.cpu_percent} % CPU" if last.cpu_percent is not None else "",
    ]
    ago = duration_text((asked_at - last.sampled_at) / 1e6)
    text = f"the last sample, {ago} before the stop: {', '.join(use for use in uses if use)}"
    yield Evidence(source="look", text=text)


def _event(entry: Entry, text: str) -> Evidence:
    return Evidence(source="log", text=text, positions=(entry.position,))
