"""The promise that the values of an environment are in spec.json alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.faults.oracle.case import Case
from tests.faults.oracle.report import Violation

ALLOWED = "spec.json"  # and what it was before it was renamed
MOST_BYTES = 16 * 1024 * 1024  # of a file: a flood of output is the agent's own word
PRINTED = ("views.jsonl", "coordinators.log")


def check_secrets(case: Case) -> Iterator[Violation]:
    """Every file of the home, every event, and all that was printed."""
    if not case.secrets:
        return
    for path in _files(case):
        content = _read(path)
        for secret in case.secrets:
            if secret.encode() in content:
                yield Violation("secrets", f"{path} holds {secret}")
    for row in case.rows:  # once more in one piece: the database's pages may cut a text
        text = f"{row.data}{row.actor}{row.correlation_id}"
        for secret in case.secrets:
            if secret in text:
                yield Violation("secrets", f"{row.type} holds {secret}", row.position, row.agent, row.attempt)


def _files(case: Case) -> Iterator[Path]:
    for directory, _, names in os.walk(case.home):
        yield from (Path(directory, name) for name in names if not name.startswith(ALLOWED))
    yield from (case.run / name for name in PRINTED)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""
