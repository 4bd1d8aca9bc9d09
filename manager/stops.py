"""Stops in this coordinator's hands: each stage is recorded, signalled, and followed by the next when it is due.

`manager.stopping` knows whom a stage is for, `manager.decide` what follows from a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from eventstore.state import Live, Stop
from manager import commands as do
from manager.attachment import Attachment
from manager.deadlines import until_next_stage
from manager.ledger import Ledger
from manager.origin import Origin
from manager.stopping import deadline_passed, pursue
from manager.turn import Turn


class Stops(NamedTuple):
    """`held(agent_id)`: the hold on an agent's attempt, if there is one."""

    ledger: Ledger
    turn: Turn
    held: Callable[[str], Attachment | None]
    clock: Callable[[], int]

    def request(self, agent_id: str, command: do.RequestStop, origin: Origin | None) -> None:
        """Record the request with its first stage, then signal; a slow stop that is under way goes on as it was.

        `origin` None: nobody asked, it follows from what the agent was started with.
        Raises `StoreUnavailable` where that of a restart cannot be recorded: it could not be started again.
        """
        is_first = self._of(agent_id) is None
        apply = self.turn.record if command.cause == "restart" else self.turn.apply
        if apply(agent_id, command, origin) and (is_first or command.forced):
            self.turn.then(lambda: self.pursue(agent_id))

    def pursue(self, agent_id: str) -> None:
        """(Re)send the signals of the stage that is recorded, and go on when its deadline has passed."""
        attachment, stop = self.held(agent_id), self._of(agent_id)
        if attachment is None or stop is None or self.turn.deposed is not None:
            return
        again = pursue(stop, attachment)
        if again is not None:
            attachment.later("kill", again, lambda: self.pursue(agent_id))
        is_new_stage = attachment.stage_waited_for != stop.stage
        attachment.stage_waited_for = stop.stage
        if stop.stage < 4 and is_new_stage:
            deadline, left = stop.deadline_at or 0, until_next_stage(stop, self.clock())
            attachment.later("stage", left, lambda: self._advance(agent_id, attachment, deadline))

    def _of(self, agent_id: str) -> Stop | None:
        state = self.ledger.states.get(agent_id)
        return state.phase.stop if state is not None and isinstance(state.phase, Live) else None

    def _advance(self, agent_id: str, attachment: Attachment, deadline: int) -> None:
        if (stop := self._of(agent_id)) is None:
            return
        command = deadline_passed(attachment)
        if self.turn.apply(agent_id, command, not_before=deadline):
            self.turn.then(lambda: self.pursue(agent_id))
        elif command.is_tree_gone:  # whoever waits for the stop is told in the end that this is not recorded
            left = sum(stop.grace_seconds[stop.stage :])
            last = deadline + round(left * 1e6)
            attachment.later("stage", left, lambda: self._advance(agent_id, attachment, last))
