"""Rules of attempts, enforced while a coordinator holds the home: timers for how long one runs, and for how long it has
written nothing; looks for the limits of what it uses.

The looks read `/proc` once a second at the most, for all limited agents together, and never without one. Each is rather
put off than that they take more than 2 % of one core. What cannot be looked at now is looked at the next time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence

from eventstore.errors import OutliveError
from eventstore.state import AgentState, Live
from eventstore.values import Health, ResourceLimits
from manager import commands as do
from manager import vitals
from manager.attachment import Attachment
from manager.deadlines import until_wall_limit
from manager.ledger import Ledger
from manager.limits import Use, exceeded, needs_looks
from manager.output import OUTPUT
from manager.process.procfs import boot_id
from manager.silence import Look, OutputFile, heard_again, heard_first, last_output_text, too_silent
from manager.stops import Stops
from manager.turn import Turn

LOOK_SECONDS = 1.0
MOST_SHARE = 0.02


class Enforcement:
    """Of all agents with rules in this coordinator's hands, from `release` on. For its running event loop.

    `held(agent_id)`: the hold on an agent's attempt, if there is one.
    """

    def __init__(
        self,
        ledger: Ledger,
        turn: Turn,
        stops: Stops,
        held: Callable[[str], Attachment | None],
        clock: Callable[[], int],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ledger = ledger
        self._turn = turn
        self._stops = stops
        self._held = held
        self._clock = clock
        self._is_released = False
        self._looked_at: set[str] = set()
        self._next_look: asyncio.TimerHandle | None = None

    def release(self) -> None:
        """Begin: with those that are overdue."""
        self._is_released = True
        for agent_id in list(self._ledger.states):
            self.watch(agent_id)

    def close(self) -> None:
        """End the looks. The timers go with the holds that they are of."""
        if self._next_look is not None:
            self._next_look.cancel()

    def watch(self, agent_id: str) -> None:
        """See to it that a running attempt keeps its rules; the same again changes nothing."""
        attachment, ruled = self._held(agent_id), self._ruled(agent_id)
        if not self._is_released or attachment is None or ruled is None:
            return
        state, live = ruled
        if state.spec.health is not None and attachment.heard is None:
            attachment.later("silence", 0.0, lambda: self._listen(agent_id, attachment))
        if state.spec.limits is not None:
            self._watch_limits(agent_id, attachment, state.spec.limits, live)

    def _watch_limits(
        self, agent_id: str, attachment: Attachment, limits: ResourceLimits, live: Live
    ) -> None:
        # Once: every look where the kernel has no pidfds comes here, and would go by the clock on the wall.
        if limits.wall_seconds is not None and not attachment.is_wall_watched:
            attachment.is_wall_watched = True
            left = until_wall_limit(limits.wall_seconds, live.started_at, self._clock())
            attachment.later("wall", left, lambda: self._stop_overdue(agent_id))
        if needs_looks(limits):
            self._looked_at.add(agent_id)
            self._look_in(LOOK_SECONDS)

    def _ruled(self, agent_id: str) -> tuple[AgentState, Live] | None:
        """An agent that has rules, runs and is not being stopped."""
        state = self._ledger.states.get(agent_id)
        if state is None or not isinstance(state.phase, Live) or state.phase.stop is not None:
            return None
        return (state, state.phase) if state.spec.limits or state.spec.health else None

    def _listen(self, agent_id: str, attachment: Attachment) -> None:
        """Look when it last wrote; if that is not too long ago, again when it would be."""
        if (ruled := self._ruled(agent_id)) is None or self._turn.deposed is not None:
            return
        state, live = ruled
        limit = None if state.spec.health is None else state.spec.health.silence_seconds
        if limit is None:
            return
        look = Look(tuple(_output(attachment.path)), self._loop.time(), self._clock())
        before = attachment.heard
        heard = heard_first(look, live.started_at) if before is None else heard_again(before, look)
        attachment.heard = heard
        if reason := too_silent(limit, heard):
            self._stop_where(agent_id, reason, evidence=f"{reason}; {last_output_text(look)}")
        else:
            left = max(limit - heard.silent_seconds, LOOK_SECONDS)
            attachment.later("silence", left, lambda: self._listen(agent_id, attachment))

    def _stop_overdue(self, agent_id: str) -> None:
        if (ruled := self._ruled(agent_id)) is None or (limits := ruled[0].spec.limits) is None:
            return
        # The timer has the last word: the clock on the wall may have been set back meanwhile.
        ran = max((self._clock() - ruled[1].started_at) / 1e6, limits.wall_seconds or 0.0)
        self._stop_where(agent_id, exceeded(limits, None, ran))

    def _is_over(self, agent_id: str) -> bool:
        """Whether it has ended by itself, which is about to be recorded."""
        attachment = self._held(agent_id)
        is_tree = self._ledger.states[agent_id].spec.until == "tree"
        return attachment is not None and not is_tree and attachment.has_main_ended()

    def _look_in(self, seconds: float) -> None:
        if self._next_look is None:
            self._next_look = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        found = {agent_id: ruled for agent_id in self._looked_at if (ruled := self._ruled(agent_id))}
        self._looked_at = set(found)
        if not found or self._turn.deposed is not None:
            return
        begun = time.thread_time()
        for (agent_id, (state, _)), use in zip(found.items(), _uses(list(found.values())), strict=False):
            if use is not None and state.spec.limits is not None:
                self._stop_where(agent_id, exceeded(state.spec.limits, use, 0.0))
        self._look_in(max(LOOK_SECONDS, (time.thread_time() - begun) / MOST_SHARE))

    def _stop_where(self, agent_id: str, reason: str | None, *, evidence: str | None = None) -> None:
        """Order a stop for a reason, if there is one; for its health, where there is evidence of that."""
        if reason is None or self._turn.deposed is not None or self._is_over(agent_id):
            return
        if evidence is not None:
            self._turn.apply(agent_id, do.ObserveHealth(health=Health.UNHEALTHY, evidence=evidence))
        cause: do.StopCause = "limit" if evidence is None else "health"
        self._stops.request(agent_id, do.RequestStop(cause=cause, reason=reason), None)


def _output(path: str) -> Iterator[OutputFile | None]:
    """What an attempt's output files are; None for one that is not there."""
    for name in OUTPUT:
        try:
            seen = os.stat(f"{path}/{name}", follow_symlinks=False)
            yield OutputFile(seen.st_size, seen.st_mtime_ns // 1000)
        except FileNotFoundError:
            yield None


def _uses(limited: Sequence[tuple[AgentState, Live]]) -> list[Use | None]:
    """What each uses; None for one of another boot; empty where nobody can look now."""
    here = boot_id()
    targets = [
        vitals.Target(live.process.pid, live.process.start_ticks, live.process.shim_pid)
        for _, live in limited
    ]
    try:
        return [
            use if live.process.boot_id == here else None
            for (_, live), use in zip(limited, vitals.uses(targets), strict=True)
        ]
    except (OutliveError, OSError, MemoryError):
        return []
