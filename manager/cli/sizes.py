"""Sizes as people type them."""

from __future__ import annotations

import re

MOST_BYTES = 1 << 50
_UNIT_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([KMGT]?)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes: `512M`, `1.5G`, `64k` (powers of 1024), or a bare number of bytes. Raises `ValueError`."""
    found = _SIZE.fullmatch(text.upper())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a size; write it like 512M, 1.5G or 1048576")
    size = round(float(found[1]) * _UNIT_BYTES[found[2]])
    if size > MOST_BYTES:
        raise ValueError(f"{text!r} is too large; a size has at most 1024T")
    return size
