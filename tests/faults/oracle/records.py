"""The records that a shim leaves in its attempt's directory: one line of JSON with a checksum over its one encoding."""

from __future__ import annotations

import json
from binascii import crc32
from pathlib import Path
from typing import Any


class Damaged(Exception):
    """The file is there, and not as this attempt's shim writes it."""


def read_record(path: Path, attempt: str) -> dict[str, Any] | None:
    """The body of a record of an attempt; None where there is no file. Raises `Damaged`."""
    try:
        line = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(str(error)) from error
    try:
        body = json.loads(line)["body"]
        content = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"no record: {error}") from error
    if not isinstance(body, dict) or line != b'{"body":%b,"crc32":"%08x"}\n' % (content, crc32(content)):
        raise Damaged("its checksum differs")
    if body.get("attempt", attempt) != attempt:
        raise Damaged(f"it is of attempt {body['attempt']}")
    return body


def exit_of(body: dict[str, Any]) -> tuple[str, int] | None:
    """("code" | "signal", number) of an exit record; None for one that tells neither."""
    kind = body.get("kind")
    number = body.get(kind) if kind in ("code", "signal") else None
    return (str(kind), number) if isinstance(number, int) else None
