"""Frames between a coordinator and its launcher: a 4-byte big-endian length, then UTF-8 JSON."""

import json
from collections.abc import Callable
from typing import Any

_SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
MAX_FRAME_BYTES = (
    4 * 1024 * 1024
)  # a command line and environment may be 2 MiB (execve(2): a quarter of the stack)


def encode_frame(message: dict[str, Any]) -> bytes:
    """The bytes of one frame. Raises ValueError when it would be larger than `MAX_FRAME_BYTES`."""
    content = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(content) > MAX_FRAME_BYTES:
        raise ValueError(
            f"cannot send the request: {len(content)} bytes are more than {MAX_FRAME_BYTES}; "
            "shorten the command or the environment"
        )
    return len(content).to_bytes(4, "big") + content


def read_content(content: bytes) -> dict[str, Any]:
    """The message of a frame's JSON. Only for what `encode_frame` wrote."""
    # json.loads does the same by way of three more functions and an expression, 30 copied pages in a forked shim.
    message, end = _SCAN(content.decode("ascii"), 0)
    if end != len(content) or not isinstance(message, dict):
        raise ValueError("cannot read a frame: it holds no JSON object")
    return message


def take_content(buffer: bytearray) -> bytes | None:
    """Remove the first frame from `buffer` and return its JSON, not yet read; None when it is not complete.

    Raises ValueError when the bytes are no frame.
    """
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[:4], "big")
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"cannot read a frame of {length} bytes: more than {MAX_FRAME_BYTES}")
    if len(buffer) < 4 + length:
        return None
    content = bytes(buffer[4 : 4 + length])
    del buffer[: 4 + length]
    return content


def take_frame(buffer: bytearray) -> dict[str, Any] | None:
    """Remove the first frame from `buffer` and return its message; None when it is not complete. Raises ValueError."""
    content = take_content(buffer)
    return None if content is None else read_content(content)
