"""Limits: what is beyond them, in which words, and how they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore.values import ResourceLimits
from manager.cli.sizes import parse_size
from manager.limits import Use, exceeded, limits_text, needs_looks, recorded_limits

MB = 1 << 20


USE = Use(memory_bytes=612 * MB, processes=65, cpu_seconds=91.0)


ROWS: list[tuple[dict[str, Any], Use | None, float, str | None]] = [
    ({}, USE, 1e9, None),  # without limits all is allowed
    ({"memory_bytes": 512 * MB}, USE, 0, "its tree used 612M of memory, its limit is 512M"),
    ({"memory_bytes": 612 * MB}, USE, 0, None),  # just as much as it may
    # Figures that look alike are told exactly.
    (
        {"memory_bytes": 612 * MB - 1},
        USE,
        0,
        "its tree used 641728512 bytes of memory, its limit is 641728511 bytes",
    ),
    ({"processes": 64}, USE, 0, "its tree had 65 processes, its limit is 64"),
    ({"processes": 65}, USE, 0, None),
    ({"cpu_seconds": 60.0}, USE, 0, "its tree used 1m31s of CPU time, its limit is 1m00s"),
    ({"cpu_seconds": 90.9}, USE, 0, "its tree used 91.00s of CPU time, its limit is 90.90s"),
    ({"cpu_seconds": 91.0}, USE, 0, None),
    ({"wall_seconds": 1800.0}, None, 1800.0, "it ran for 30m00s, its limit is 30m00s"),
    ({"wall_seconds": 1800.0}, None, 1799.9, None),
    (
        {"memory_bytes": 1, "processes": 1, "cpu_seconds": 1.0},
        None,
        1e9,
        None,
    ),  # nobody looked: nothing is known
    # Of several the first is named.
    (
        {"memory_bytes": 1 << 30, "processes": 5, "cpu_seconds": 1.0},
        USE,
        0,
        "its tree had 65 processes, its limit is 5",
    ),
]


@pytest.mark.parametrize(("limits", "use", "ran", "told"), ROWS)
def test_what_is_beyond_a_limit(
    limits: dict[str, Any], use: Use | None, ran: float, told: str | None
) -> None:
    """One look is enough, and both figures are told."""
    assert exceeded(ResourceLimits(**limits), use, ran) == told


def test_a_limit_of_time_needs_no_looks() -> None:
    """Only what processes use has to be looked at."""
    assert not needs_looks(ResourceLimits(wall_seconds=1.0))
    for name in ("memory_bytes", "processes", "cpu_seconds"):
        assert needs_looks(ResourceLimits(**{name: 1}))


def test_limits_in_words() -> None:
    """One phrase for all of them, and none for none; SPAWNING's data have them."""
    assert recorded_limits({"spec": {"limits": {"processes": 5}}}) == {"processes": 5}
    all_of_them = {"wall_seconds": 1800.0, "memory_bytes": 512 * MB, "processes": 1, "cpu_seconds": 90.0}
    assert limits_text(all_of_them) == "30m00s in all, 512M of memory, 1 process, 1m30s of CPU time"
    assert limits_text({"wall_seconds": None}) == limits_text(None) == ""


@pytest.mark.parametrize(
    "spec", [None, "none", {}, {"limits": None}, {"limits": 5}, {"limits": {"processes": "5"}}]
)
def test_what_nobody_wrote_is_no_limit(spec: Any) -> None:
    """An event that was tampered with, or is of another release, has no limits to show."""
    assert limits_text(recorded_limits({"spec": spec})) == ""
    assert recorded_limits({}) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 * MB), ("64k", 65_536), ("1.5G", 3 << 29), ("4096", 4096), ("1T", 1 << 40), ("0", 0)],
)
def test_sizes_as_people_type_them(text: str, size: int) -> None:
    """Powers of 1024, small or large letters, or bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "5X", "-1M", "1 M", "5MB", "inf", "1e9", "9999999T", "٣M"])
def test_what_is_no_size(text: str) -> None:
    """It is refused, with what a size looks like."""
    with pytest.raises(ValueError, match=r"size"):
        parse_size(text)
