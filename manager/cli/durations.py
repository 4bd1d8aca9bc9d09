"""Durations as people type them."""

from __future__ import annotations

import re

MOST_SECONDS = 36_500 * 86_400.0  # what clocks and timers of the system take
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds: `100ms`, `5s`, `1m30s`, `2h`, `3d`, or a bare number of seconds. Raises `ValueError`."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
    else:
        raise ValueError(f"{text!r} is not a duration; write it like 100ms, 5s, 1m30s or 2h")
    if seconds > MOST_SECONDS:
        raise ValueError(f"{text[:20]!r} is too long; a duration has at most 36500d")
    return seconds


def parse_grace(text: str) -> tuple[float, float, float]:
    """The three waits of a stop, `10s,5s,5s`: after SIGTERM, SIGTERM to the tree, SIGKILL. Raises `ValueError`."""
    parts = text.split(",")
    if len(parts) != 3:
        raise ValueError(f"{text!r} is not three waits; write them like 10s,5s,5s")
    first, second, third = (parse_duration(part.strip()) for part in parts)
    return first, second, third
