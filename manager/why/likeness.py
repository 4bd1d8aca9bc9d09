"""Which other failures are like this one: those with the same fingerprint. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.payloads import Found
from manager.why.history import History
from manager.why.material import FAILURES, Entry, Material
from manager.why.parts import Alike, Similar
from projections.fingerprint import Fingerprint, of_end

NEWEST = 5


def alike(history: History, material: Material, written: Found) -> Alike | None:
    """The failures like that of an attempt; None for one that did not fail."""
    outcome = history.outcome
    if outcome is None or outcome.type not in FAILURES:
        return None
    mine = _fingerprint(outcome, history.exit, written)
    others = [
        other
        for other in material.failures
        if other.outcome.position != outcome.position
        and _fingerprint(other.outcome, other.exit, other.last_output).id == mine.id
    ]
    others.sort(key=lambda other: -other.outcome.position)
    return Alike(
        fingerprint=mine.id,
        line=mine.line,
        count=len(others),
        agents=len({other.agent_id for other in others} - {material.agent_id}),
        first_at=others[-1].outcome.at if others else None,
        last_at=others[0].outcome.at if others else None,
        newest=tuple(
            Similar(
                agent_id=other.agent_id,
                name=other.name,
                attempt=other.outcome.row.attempt,
                position=other.outcome.position,
                at=other.outcome.at,
            )
            for other in others[:NEWEST]
        ),
        is_all=material.is_all_failures,
    )


def _fingerprint(outcome: Entry, exit_: Mapping[str, Any] | None, written: Found) -> Fingerprint:
    return of_end(outcome.data, exit_, None if written.gone else written.lines)
