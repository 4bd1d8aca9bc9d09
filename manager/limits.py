"""Whether an attempt has come to a limit of its spec, and in which words. Pure: what was read is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from projections.quantities import counted, duration_text, size_text

if TYPE_CHECKING:
    from eventstore.values import ResourceLimits


class Use(NamedTuple):
    """What a tree uses: resident bytes of all its processes, their number, and their CPU time so far.

    `cpu_seconds` are those of living processes and of ended ones that somebody waited for, as shells and shims do.
    """

    memory_bytes: int
    processes: int
    cpu_seconds: float


def needs_looks(limits: ResourceLimits) -> bool:
    """Whether there is a limit that only a look at its processes can tell of."""
    return (limits.memory_bytes, limits.processes, limits.cpu_seconds) != (None, None, None)


def exceeded(limits: ResourceLimits, use: Use | None, ran_seconds: float) -> str | None:
    """What is beyond its limit, with both figures; None: nothing is. `use` None: nobody looked.

    Using just as much as one may is within the limit; having run for as long is not. One look is enough.
    """
    if use is not None:
        if limits.memory_bytes is not None and use.memory_bytes > limits.memory_bytes:
            used, most = _apart(use.memory_bytes, limits.memory_bytes, size_text, "{} bytes")
            return f"its tree used {used} of memory, its limit is {most}"
        if limits.processes is not None and use.processes > limits.processes:
            return f"its tree had {counted(use.processes, 'process', 'processes')}, its limit is {limits.processes}"
        if limits.cpu_seconds is not None and use.cpu_seconds > limits.cpu_seconds:
            used, most = _apart(use.cpu_seconds, limits.cpu_seconds, duration_text, "{:.2f}s")
            return f"its tree used {used} of CPU time, its limit is {most}"
    if limits.wall_seconds is not None and ran_seconds >= limits.wall_seconds:
        return f"it ran for {duration_text(ran_seconds)}, its limit is {duration_text(limits.wall_seconds)}"
    return None


def recorded_limits(spawning: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The limits in SPAWNING's data; None for none, and for data that nobody wrote so."""
    return recorded_part(spawning, "limits")


def recorded_part(spawning: Mapping[str, Any], name: Literal["limits", "health"]) -> Mapping[str, Any] | None:
    """A part of the spec in SPAWNING's data; None for none, and for data that nobody wrote so."""
    spec = spawning.get("spec")
    part = spec.get(name) if isinstance(spec, Mapping) else None
    return part if isinstance(part, Mapping) else None


def limits_text(limits: Mapping[str, Any] | None) -> str:
    """`30m00s in all, 512M of memory, 64 processes, 1m30s of CPU time`, of recorded limits; empty for none."""
    texts: dict[str, Callable[[Any], str]] = {
        "wall_seconds": lambda value: f"{duration_text(value)} in all",
        "memory_bytes": lambda value: f"{size_text(value)} of memory",
        "processes": lambda value: counted(value, "process", "processes"),
        "cpu_seconds": lambda value: f"{duration_text(value)} of CPU time",
    }
    found = {name: value for name, value in (limits or {}).items() if isinstance(value, int | float)}
    return ", ".join(text(found[name]) for name, text in texts.items() if name in found)


def _apart(used: float, most: float, text: Any, exact: str) -> tuple[str, str]:
    """Both as people read them, or exactly where that would be the same."""
    shown = text(used), text(most)
    return shown if shown[0] != shown[1] else (exact.format(used), exact.format(most))
