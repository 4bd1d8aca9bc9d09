"""Frames between a coordinator and its launcher."""

from __future__ import annotations

import pytest

from manager.process.frames import encode_frame, read_content, take_frame


@pytest.mark.parametrize("content", [b"", b" ", b"nothing", b"{", b"[" * 100_000, b"1", b"{} x", b"\xff"])
def test_a_frame_without_json_was_an_error_that_nobody_expected(content: bytes) -> None:
    """Whoever reads frames expects a ValueError, and got StopIteration or RecursionError."""
    with pytest.raises(ValueError):  # noqa: PT011 (json has its own words, and so has each codec)
        read_content(content)


def test_a_frame_is_read_as_it_was_written() -> None:
    """And only when all of it has come."""
    frame = encode_frame({"a": ["ä", 1]})
    buffer = bytearray(frame[:-1])
    assert take_frame(buffer) is None
    buffer += frame[-1:]
    assert take_frame(buffer) == {"a": ["ä", 1]}
