"""The list of lies: each changes the evidence of a true run into what one bug would have left.

A lie names the promises that its bug breaks, all of them: the oracle must name these and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.faults.seeded.evidence import Evidence

Change = Callable[[Evidence], None]


class Lie(NamedTuple):
    """One bug's traces."""

    name: str
    promises: frozenset[str]
    tell: Change


LIES: list[Lie] = []


def breaks(*promises: str) -> Callable[[Change], Change]:
    """Enter a lie that breaks these promises."""

    def enter(change: Change) -> Change:
        LIES.append(Lie(change.__name__, frozenset(promises), change))
        return change

    return enter
