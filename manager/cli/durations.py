"""Durations and sizes as people type and read them."""

from __future__ import annotations

import re

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds: `100ms`, `5s`, `1m30s`, `2h`, `3d`, or a bare number of seconds. Raises `ValueError`."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write it like 100ms, 5s, 1m30s or 2h")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def parse_grace(text: str) -> tuple[float, float, float]:
    """The three waits of a stop, `10s,5s,5s`: after SIGTERM, SIGTERM to the tree, SIGKILL. Raises `ValueError`."""
    parts = text.split(",")
    if len(parts) != 3:
        raise ValueError(f"{text!r} is not three waits; write them like 10s,5s,5s")
    first, second, third = (parse_duration(part.strip()) for part in parts)
    return first, second, third


def duration_text(seconds: float | None) -> str:
    """Two units at the most: `0.4s`, `12s`, `12m04s`, `3h07m`, `2d04h`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size_text(size_bytes: int | None) -> str:
    """`512B`, `96.0K`, `412M`, `2.1G` (powers of 1024); `-` for None."""
    if size_bytes is None:
        return "-"
    if size_bytes < 1024:
        return f"{size_bytes}B"
    size = float(size_bytes)
    for unit in "KMG":
        size /= 1024
        if size < 999.5:
            return f"{size:.1f}{unit}" if size < 99.95 else f"{size:.0f}{unit}"
    return f"{size / 1024:.1f}T"
