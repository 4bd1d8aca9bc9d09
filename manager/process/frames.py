"""Frames between a coordinator and its launcher: a 4-byte big-endian length, then JSON in ASCII.

A request's frame is two lines: what its shim needs, then all of it. So a shim reads a few fields, keeps the rest as the
bytes that they are (they become ``spec.json``), and the environment is first looked at by the agent's own process.
"""

import json
from collections.abc import Callable
from typing import Any

from manager.process.attempt_dir import canonical

HEADER = ("attempt_dir", "token", "until", "cgroup")
_SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
MAX_FRAME_BYTES = (
    4 * 1024 * 1024
)  # a command line and environment may be 2 MiB (execve(2): a quarter of the stack)


def encode_frame(message: dict[str, Any]) -> bytes:
    """The bytes of one frame. Raises ValueError when it would be larger than `MAX_FRAME_BYTES`."""
    return _frame(json.dumps(message, separators=(",", ":")).encode("ascii"))


def _frame(content: bytes) -> bytes:
    if len(content) > MAX_FRAME_BYTES:
        raise ValueError(
            f"cannot send the request: {len(content)} bytes are more than {MAX_FRAME_BYTES}; "
            "shorten the command or the environment"
        )
    return len(content).to_bytes(4, "big") + content


def encode_request(request: dict[str, Any]) -> bytes:
    """The frame of a launch request. Raises ValueError when it is too large, or holds what JSON does not have."""
    header = {name: request.get(name) for name in HEADER}
    header["uid"] = (request.get("user") or {}).get("uid")
    lines = b"\n".join((json.dumps(header, separators=(",", ":")).encode("ascii"), canonical(request)))
    return _frame(lines)


def split_request(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a request, and the canonical JSON of all of it."""
    header, _, whole = content.partition(b"\n")
    return read_content(header), whole


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
