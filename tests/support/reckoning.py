"""Reports reckoned from the raw rows of the log in plain Python: what the views and queries are held against."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

Attempt = dict[str, Any]
Figures = dict[str, Any]
OUTCOMES = ("COMPLETED", "FAILED", "LOST", "CANCELLED", "KILLED")


def attempts_of(database: Path) -> list[Attempt]:
    """Every attempt, as its events tell it."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT stream, type, attempt, occurred_at, host, home, data FROM events"
            " WHERE stream LIKE 'agent/%' ORDER BY position"
        ).fetchall()
    found: dict[tuple[str, int], Attempt] = {}
    delays: dict[tuple[str, int], float] = {}
    for stream, kind, number, at, host, home, text in rows:
        data, key = json.loads(text), (stream[6:], number)
        if kind == "SPAWNING":
            found[key] = {
                "agent": key[0], "attempt": number, "name": data["name"], "labels": data["spec"]["labels"],
                "host": host, "home": home, "requested": at, "started": None, "ended": None, "outcome": None,
                "judged": None, "cause": None, "is_over": False, "delay": delays.get(key), "gave_up": False,
                "resources": None,
            }  # fmt: skip
        one = found[key]
        if kind == "STARTED":
            one["started"] = at
        elif kind == "ZOMBIE_REAPED":
            one |= {"ended": data["ended_at"], "is_over": True, "resources": data["resources"]}
        elif kind in OUTCOMES and one["outcome"] is None:
            one |= {"outcome": kind, "judged": at, "is_over": True}
            one["cause"] = data.get("cause") or ("unknown" if kind == "LOST" else None)
        elif kind == "RESTART_SCHEDULED":
            delays[key[0], data["next_attempt"]] = data["delay_seconds"]
        elif kind == "RESTART_GIVEN_UP":
            one["gave_up"] = True
    for one in found.values():
        one["over"] = one["judged"] if one["ended"] is None else one["ended"]
        known = one["started"] is not None and one["ended"] is not None and one["ended"] >= one["started"]
        one["seconds"] = (one["ended"] - one["started"]) / 1e6 if known else None
    return list(found.values())


def group_of(by: str, at: str) -> Callable[[Attempt], Any]:
    """What an attempt is grouped by; `at` names the instant that days and hours are those of."""
    if by.startswith("label:"):
        return lambda one: one["labels"].get(by[6:])
    if by in ("day", "hour"):
        return lambda one: _period(one[at], by)
    return lambda one: one[by]


def grouped(rows: Iterable[Attempt], by: str, at: str) -> dict[Any, list[Attempt]]:
    """Attempts by group."""
    groups: dict[Any, list[Attempt]] = {}
    key = group_of(by, at)
    for one in rows:
        groups.setdefault(key(one), []).append(one)
    return groups


def failures(rows: list[Attempt], **_: Any) -> Figures:
    """Counts by outcome, rates, first and last failure."""
    counts = {outcome.lower(): sum(one["outcome"] == outcome for one in rows) for outcome in OUTCOMES}
    judged = counts["completed"] + counts["failed"]
    failed = [one["over"] for one in rows if one["outcome"] in ("FAILED", "LOST")]
    return {
        "ended": len(rows),
        **counts,
        "success_rate": counts["completed"] / judged if judged else None,
        "failure_rate": counts["failed"] / judged if judged else None,
        "first_failed_at": min(failed, default=None),
        "last_failed_at": max(failed, default=None),
    }


def durations(rows: list[Attempt], **_: Any) -> Figures:
    """Least, mean, percentiles by nearest rank, most."""
    seconds = sorted(one["seconds"] for one in rows)
    ranks = {f"p{p}_seconds": seconds[math.ceil(p * len(seconds) / 100) - 1] for p in (50, 95, 99)}
    return {
        "attempts": len(seconds),
        "least_seconds": seconds[0],
        "mean_seconds": fmean(seconds),
        **ranks,
        "most_seconds": seconds[-1],
    }


def restarts(rows: list[Attempt], *, now: int, **_: Any) -> Figures:
    """How often agents were started again, and how long they ran between failures."""
    up = [seconds for one in rows if (seconds := _up(one, now)) is not None]
    delays = [one["delay"] for one in rows if one["delay"] is not None]
    failed = sum(one["outcome"] == "FAILED" for one in rows)
    return {
        "agents": len({one["agent"] for one in rows}),
        "attempts": len(rows),
        "restarts": sum(one["attempt"] > 1 for one in rows),
        "given_up": sum(one["gave_up"] for one in rows),
        "failed": failed,
        "mean_delay_seconds": fmean(delays) if delays else None,
        "up_seconds": sum(up) if up else None,
        "mtbf_seconds": sum(up) / failed if up and failed else None,
    }


def uptime(rows: list[Attempt], *, since: int, until: int, now: int) -> Figures:
    """How long agents ran in the period, of the time from their first start in it to their last end."""
    up = span = 0.0
    longest, unknown = [], 0
    agents = grouped(rows, "agent", "started")
    for mine in agents.values():
        pieces = []
        for one in mine:
            end = now if not one["is_over"] else one["ended"]
            begun = max(one["started"], since)
            pieces.append((begun, None if end is None else min(end, until)))
        known = [(begun, gone) for begun, gone in pieces if gone is not None]
        unknown += len(pieces) - len(known)
        lengths = [(gone - begun) / 1e6 for begun, gone in known if gone > begun]
        up += sum(lengths)
        longest += lengths
        if known:
            span += max(0.0, (max(gone for _, gone in known) - min(begun for begun, _ in pieces)) / 1e6)
    return {
        "agents": len(agents),
        "attempts": len(rows),
        "up_seconds": up,
        "up_share": up / span if span else None,
        "longest_seconds": max(longest, default=None),
        "unknown_ends": unknown,
    }


def resources(rows: list[Attempt], **_: Any) -> Figures:
    """What the kernel counted."""
    used = [one["resources"] for one in rows if one["resources"]]
    return {
        "attempts": len(rows),
        "max_memory_bytes": max(
            (u["max_memory_bytes"] for u in used if u["max_memory_bytes"] is not None), default=None
        ),
        "user_seconds": sum(u["user_seconds"] for u in used) if used else None,
        "system_seconds": sum(u["system_seconds"] for u in used) if used else None,
    }


# For each report: which attempts count, by which instant, and the figures.
RECKONED: dict[str, tuple[Callable[[Attempt], bool], str, Callable[..., Figures]]] = {
    "failures": (lambda one: one["outcome"] is not None, "over", failures),
    "durations": (lambda one: one["seconds"] is not None, "ended", durations),
    "restarts": (lambda _: True, "requested", restarts),
    "uptime": (lambda one: one["started"] is not None, "started", uptime),
    "resources": (lambda one: one["started"] is not None, "started", resources),
}


def _up(one: Attempt, now: int) -> float | None:
    if one["seconds"] is not None:
        return float(one["seconds"])
    is_running = one["started"] is not None and not one["is_over"] and one["started"] <= now
    return (now - one["started"]) / 1e6 if is_running else None


def _period(at: int, by: str) -> int:
    moment = datetime.fromtimestamp(at / 1e6, UTC)
    start = moment.replace(minute=0, second=0, microsecond=0)
    return round((start.replace(hour=0) if by == "day" else start).timestamp() * 1e6)
