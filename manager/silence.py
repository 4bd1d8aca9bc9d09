"""Since when an attempt has written nothing, and whether that is too long. Pure: what was read is an argument.

A look at its output files gives their sizes and times of change, by the clock on the wall; what counts is elapsed time.
So a time of change is brought to the monotonic clock by the offsets between the two clocks at this look and at the one
before, and the later of both results counts: a clock that was set meanwhile makes a silence shorter, never longer.
Before the first look of a coordinator there is only the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from eventstore.record import rfc3339
from manager.limits import recorded_part
from projections.quantities import duration_text


class OutputFile(NamedTuple):
    """Size, and time of the last change in microseconds since the epoch."""

    size_bytes: int
    changed_at: int


class Look(NamedTuple):
    """What was seen of each output file, None where there was none; by both clocks, when.

    `monotonic_seconds` from any beginning, `now` microseconds since the epoch.
    """

    files: tuple[OutputFile | None, ...]
    monotonic_seconds: float
    now: int

    @property
    def offset_seconds(self) -> float:
        """How far the clock on the wall is ahead of the other."""
        return self.now / 1e6 - self.monotonic_seconds


class Heard(NamedTuple):
    """The last look, and when it had last written, or been started, by the monotonic clock."""

    look: Look
    last_seconds: float

    @property
    def silent_seconds(self) -> float:
        """For how long it had written nothing at the last look."""
        return self.look.monotonic_seconds - self.last_seconds


def heard_first(look: Look, started_at: int) -> Heard:
    """By the first look of a coordinator at an attempt that was started then; what is in the future counts as now."""
    last = max([started_at, *(one.changed_at for one in look.files if one is not None)])
    return Heard(look, look.monotonic_seconds - max(0, look.now - last) / 1e6)


def heard_again(before: Heard, look: Look) -> Heard:
    """By a further look. Another size, a smaller one too, or time is a change; that a file is gone is none."""
    changed = [
        one.changed_at
        for one, old in zip(look.files, before.look.files, strict=True)
        if one is not None and one != old
    ]
    if not changed:
        return Heard(look, before.last_seconds)
    last = max(changed) / 1e6 - min(look.offset_seconds, before.look.offset_seconds)
    return Heard(look, min(max(last, before.look.monotonic_seconds), look.monotonic_seconds))


def too_silent(limit_seconds: float, heard: Heard) -> str | None:
    """Why it is to be stopped, with both figures; None: it has written since."""
    if heard.silent_seconds < limit_seconds:
        return None
    silent = duration_text(heard.silent_seconds)
    return f"it has written nothing for {silent}, its limit is {duration_text(limit_seconds)}"


def last_output_text(look: Look) -> str:
    """When it last wrote, as its files have it."""
    times = [one.changed_at for one in look.files if one is not None and one.size_bytes]
    return f"its last output was at {rfc3339(max(times))}" if times else "there is no output of it"


def allowed_text(spawning: Mapping[str, Any]) -> str:
    """`10m00s of silence at most`, by SPAWNING's data; empty for no rule, and for data that nobody wrote so."""
    seconds = (recorded_part(spawning, "health") or {}).get("silence_seconds")
    return f"{duration_text(seconds)} of silence at most" if isinstance(seconds, int | float) else ""
