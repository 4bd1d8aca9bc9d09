"""The rows of one agent as any part of its history leaves them, made from nothing but that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventstore.record import RecordedEvent
from eventstore.state import AgentState
from projections.agents import advance, agent_row, attempt_row, is_over
from projections.rows import Row


def folded_rows(agent_id: str, history: Iterable[RecordedEvent]) -> Iterator[tuple[int | None, Row]]:
    """The row of each attempt under its number, then the agent's under None; nothing for an empty history.

    Holds one attempt at a time. Raises `IllegalTransition`, `StoreDamaged`.
    """
    state: AgentState | None = None
    last: RecordedEvent | None = None
    current: tuple[AgentState, RecordedEvent] | None = None
    for last in history:
        before, state = state, advance(state, last)
        if state is None or is_over(before, state):
            continue
        if current is not None and current[0].attempt != state.attempt:
            yield current[0].attempt, attempt_row(agent_id, *current)
        current = state, last
    if current is not None:
        yield current[0].attempt, attempt_row(agent_id, *current)
    if state is not None and last is not None:
        yield None, agent_row(agent_id, state, last)
