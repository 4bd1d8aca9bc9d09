"""What an attempt must keep secret, read from its `spec.json`: the only place that knows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manager.process.attempt_dir import read_as
from manager.redaction import BY_RULES_ALONE, Redactor

if TYPE_CHECKING:
    from manager.commands import Command

_TEXTS = ("reason", "message")  # of people and shims, in commands


def redactor_of(attempt: Path) -> Redactor:
    """For texts about the attempt in this directory. Without a spec that can be read only rules are known."""
    with contextlib.suppress(OSError):
        spec = read_as("spec", str(attempt))
        if isinstance(spec, dict):
            return of_request(spec)
    return BY_RULES_ALONE


def of_request(request: Mapping[str, Any]) -> Redactor:
    """For texts about an attempt that is started with this request, or was: then it is its `spec.json`."""
    with contextlib.suppress(re.error, KeyError, TypeError, AttributeError):
        return Redactor.of(request["env"], request["command"], request.get("redact", ()))
    return BY_RULES_ALONE


def without_secrets(home: Path, command: Command, directory: str) -> Command:
    """`command` as it may be recorded of the attempt in this directory of the home."""
    texts = {name: text for name in _TEXTS if isinstance(text := getattr(command, name, None), str) and text}
    if not texts:
        return command
    redactor = redactor_of(home / directory)
    changes: dict[str, Any] = {name: redactor.text(text) for name, text in texts.items()}
    return replace(command, **changes)
