"""Instants as people type and read them. Inside they are microseconds since the epoch, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from manager.cli.durations import parse_duration

_AGO = re.compile(r"-?((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)(?:\s*ago)?", re.ASCII)
_UNIT = re.compile(r"(?<=\d)\s*(second|minute|hour|day)s?\b\s*", re.ASCII)  # 2 hours → 2h
_NEXT = re.compile(r"(?<=next attempt at )[0-9T:.-]+Z", re.ASCII)
MICROSECONDS = 1_000_000
LAST = 253_402_300_799_999_999  # the end of the year 9999


def parse_instant(text: str, *, now: int) -> int:
    """An RFC 3339 time (local where it has no zone), or one before `now`: `10m`, `-2h`, `3 days ago`.

    Raises `ValueError`.
    """
    ago = _AGO.fullmatch(_UNIT.sub(lambda word: word[1][0], text.strip()))
    if ago:
        return max(0, now - round(parse_duration(ago[1]) * MICROSECONDS))
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write 2026-11-22T14:00:00Z, 2026-11-22 14:00 or 10m, 2h, 3d for that long ago"
        ) from None
    try:
        aware = instant.astimezone() if instant.tzinfo is None else instant
    except OverflowError:
        raise ValueError(f"{text!r} is beyond what a calendar has") from None
    return min(max(0, _microseconds(aware)), LAST)  # nothing was recorded before, and nothing will be after


def from_rfc3339(text: str) -> int:
    """Microseconds of the text form that our JSON has."""
    return _microseconds(datetime.fromisoformat(text))


def in_zone(text: str, *, utc: bool) -> str:
    """An agent's note with the time of its next attempt as `time_text` writes it."""
    return _NEXT.sub(lambda found: time_text(from_rfc3339(found[0]), utc=utc), text)


def time_text(instant: int, *, utc: bool) -> str:
    """`2026-11-22 14:00:00.123`, local, or with a Z in UTC."""
    moment = datetime.fromtimestamp(instant // MICROSECONDS, UTC if utc else None)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{instant % MICROSECONDS // 1000:03d}{'Z' if utc else ''}"


def _microseconds(moment: datetime) -> int:
    since = moment - datetime.fromtimestamp(0, UTC)
    return (since.days * 86400 + since.seconds) * MICROSECONDS + since.microseconds
