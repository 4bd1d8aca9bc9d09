"""Parameters of a whole sweep, of which `make test` runs a part and `make faults` the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def sweep(fast: Sequence[Any], full: Iterable[Any]) -> list[Any]:
    """All of `full`; those that are not in `fast` are left to `make faults`."""
    return [one if one in fast else pytest.param(*_parts(one), marks=pytest.mark.faults) for one in full]


def _parts(one: Any) -> tuple[Any, ...]:
    return one if isinstance(one, tuple) else (one,)
