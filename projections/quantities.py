"""Durations, sizes and counts as people read them."""

from __future__ import annotations


def duration_text(seconds: float | None) -> str:
    """Two units at the most: `14ms`, `0.4s`, `12s`, `12m04s`, `3h07m`, `2d04h`; `-` for None."""
    if seconds is None:
        return "-"
    if 0.0005 <= seconds < 0.0995:
        return f"{seconds * 1000:.0f}ms"
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


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 event`, `2 events`; `plural` where that is more than an s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
