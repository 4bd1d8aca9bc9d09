"""Frames between a coordinator and its launcher: a 4-byte big-endian length, then the content.

An answer is JSON. A request is fields ended by NUL, all that its shim needs, then canonical JSON of the whole: so a
shim reads no JSON (its reader costs 100 KB of copied pages), keeps the whole as the bytes that it is (they become
``spec.json``), and the environment is first looked at by the agent's own process.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from manager.process.attempt_dir import canonical, name_of

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
    path, token = os.fsencode(request["attempt_dir"]), request.get("token") or ""
    if b"\0" in path or "/" in token or not token.isascii() or not token.isprintable():
        raise ValueError(f"cannot send the request: {path!r} or {token!r} is no path or token; give others")
    user = request.get("user")
    until = "tree" if request.get("until") == "tree" else "main"
    # Their keys are the last ones of an identity's, so that a shim appends them as they are.
    told = canonical({"token": token, "uid": os.getuid() if user is None else user["uid"], "until": until})
    group = token.encode("ascii") if request.get("cgroup") else b""
    name = json.dumps(name_of(request["attempt_dir"])).encode("ascii")
    return _frame(b"\0".join((path, until.encode("ascii"), group, name, told[1:-1], canonical(request))))


def split_request(content: bytes) -> tuple[bytes, ...]:
    """(attempt's directory, until, name of the cgroup or empty, the attempt's name as JSON, what the identity says
    besides, JSON of the whole).
    """
    return tuple(content.split(b"\0", 5))


def read_content(content: bytes) -> dict[str, Any]:
    """The message of a frame's JSON. Only for what `encode_frame` or `canonical` wrote."""
    # json.loads does the same by way of three more functions and an expression, 30 copied pages in a forked shim.
    try:
        message, end = _SCAN(content.decode("ascii"), 0)
    except (StopIteration, RecursionError) as error:
        raise ValueError("cannot read a frame: it holds no JSON") from error
    if end != len(content) or not isinstance(message, dict):
        raise ValueError("cannot read a frame: it holds no JSON object")
    return message


def take_content(buffer: bytearray) -> bytes | None:
    """Remove the first frame from `buffer` and return its content, not yet read; None when it is not complete.

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
