"""Running an analysis: the attempts and samples of a home, with what the system shows of the living agents."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eventstore.errors import InvalidRequest
from eventstore.record import rfc3339
from eventstore.samples import Sample
from manager.limits import recorded_limits
from manager.memorylimit import memory_limit
from manager.process.procfs import read_bytes
from manager.view import View
from projections.analytics import anomalies, risks
from projections.analytics.anomalies import Anomaly
from projections.analytics.history import Attempt, as_of
from projections.analytics.risks import Risk
from projections.analytics.source import attempts, samples_of
from projections.analytics.trends import Trend, trends
from projections.reporting import check_period

Name = Literal["trends", "anomalies", "risks"]
DEFAULT_THRESHOLDS: Mapping[str, float] = {
    "trends": 0.0,
    "anomalies": anomalies.THRESHOLD,
    "risks": risks.THRESHOLD,
}
MOST_THRESHOLDS: Mapping[str, float] = {"trends": 0.0, "anomalies": math.inf, "risks": 1.0}
Finding = Trend | Anomaly | Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What an analysis found, as of the time `at` (µs, UTC). Findings with a score under `threshold` are left out."""

    name: Name
    at: int
    threshold: float
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The document that `outlive report trends --json` and its like print."""
        return {
            "schema": "outlive.analysis/1",
            "analysis": self.name,
            "at": rfc3339(self.at),
            "threshold": self.threshold,
            "findings": [_finding(one) for one in self.findings],
        }


def _finding(one: Finding) -> dict[str, Any]:
    fields: dict[str, Any] = one._asdict()
    return {**fields, "at": rfc3339(one.at)} if isinstance(one, Anomaly) else fields


def analyse(
    view: View,
    name: Name,
    *,
    now: int,
    since: int | None = None,
    until: int | None = None,
    threshold: float | None = None,
) -> Analysis:
    """Analyse what happened from `since` up to `until` (default: all, up to now), as it was known then.

    Limits of memory and the last output of agents are those of now, so they are left out of an analysis of the past.
    Raises `InvalidRequest` for an analysis that there is not, a threshold that no score has, and a period that ends
    before it begins.
    """
    if name not in DEFAULT_THRESHOLDS:
        raise InvalidRequest(f"cannot run the analysis {name!r}: there are {', '.join(DEFAULT_THRESHOLDS)}")
    check_period(since, until)
    least = _checked_threshold(name, DEFAULT_THRESHOLDS[name] if threshold is None else threshold)
    at = now if until is None else min(until, now)
    found: Sequence[Finding] = ()
    if not view.is_empty:
        known = as_of(attempts(view.reader), at)
        found = _findings(view, name, known, since=since or 0, at=at, threshold=least, is_now=at == now)
    return Analysis(name=name, at=at, threshold=least, findings=tuple(found))


def _checked_threshold(name: Name, threshold: object) -> float:
    most = MOST_THRESHOLDS[name]
    score = threshold if isinstance(threshold, int | float) and not isinstance(threshold, bool) else math.nan
    if math.isfinite(score) and 0 <= score <= most:
        return score
    if most == 0:
        raise InvalidRequest(
            f"cannot show {name} of a score of {threshold!r} or more: there are none; give no threshold"
        )
    scores = f"from 0 to {most:g}" if math.isfinite(most) else "0 or more"
    raise InvalidRequest(
        f"cannot show {name} of a score of {threshold!r} or more: scores are {scores}; choose one"
    )


def _findings(
    view: View, name: Name, known: list[Attempt], *, since: int, at: int, threshold: float, is_now: bool
) -> Sequence[Finding]:
    if name == "trends":
        return trends(one for one in known if one.requested_at >= since)
    living = {one.name for one in known if one.is_running}
    agents = {one.agent_id for one in known if one.name in living}
    seen = {
        agent: [row for row in rows if row.sampled_at <= at]
        for agent, rows in samples_of(view.reader, agents).items()
    }
    if name == "anomalies":
        heard_at = _heard_at(view, known, at) if is_now else {}
        return anomalies.anomalies(known, seen, now=at, since=since, threshold=threshold, heard_at=heard_at)
    limits = _limits(view, known, seen) if is_now else {}
    return risks.risks(known, seen, limits, now=at, threshold=threshold)


def _heard_at(view: View, known: Sequence[Attempt], at: int) -> dict[tuple[str, int], int]:
    """When running attempts last wrote something, or had an event."""
    heard: dict[tuple[str, int], int] = {}
    for status in view.by_ids([one.agent_id for one in known if one.is_running]):
        times = [0]
        for stream in ("stdout", "stderr"):
            try:
                times.append(os.stat(view.log_path(status, stream=stream)).st_mtime_ns // 1000)
            except OSError:
                continue
        [(last,)] = view.reader.rows(
            "SELECT max(occurred_at) FROM events WHERE stream = ?", (f"agent/{status.id}",)
        )
        heard[status.id, status.attempt] = min(at, max(*times, last or 0))
    return heard


def _limits(view: View, known: Sequence[Attempt], seen: Mapping[str, Sequence[Sample]]) -> dict[str, int]:
    limits: dict[str, int | None] = {}
    for status in view.by_ids([one.agent_id for one in known if one.is_running]):
        rows = seen.get(status.id)
        if status.pid is None or not rows:
            continue
        found = (
            memory_limit(status.pid, round(risks.used_bytes(rows)), read_bytes),
            _own_limit(view, status.id),
        )
        limits[status.id] = min((limit for limit in found if limit is not None), default=None)
    return {agent_id: limit for agent_id, limit in limits.items() if limit is not None}


def _own_limit(view: View, agent_id: str) -> int | None:
    """The limit of memory in its spec."""
    [first] = view.reader.events(stream=f"agent/{agent_id}", types=("SPAWNING",), limit=1)
    found = (recorded_limits(json.loads(first.data)) or {}).get("memory_bytes")
    return found if isinstance(found, int) else None
