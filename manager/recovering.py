"""A recovery, of all agents that have not ended: replayed, looked at, compared, and acted on."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence

from eventstore.crashpoints import crash_point
from eventstore.errors import OutliveError
from eventstore.state import Live
from eventstore.store import EventStore, now_microseconds
from manager.conditions import has_known_exit, is_due
from manager.homelog import HomeLog
from manager.ledger import Ledger
from manager.replay import Replayed, replay
from manager.status import RecoveryReport
from manager.supervisor import Supervisor
from manager.waits import Waits

START_SETTLES_SECONDS = 5.0  # for starts found half done to come to an end, before a recovery reports


class Recovering:
    """Takes into the ledger what the log says. `unwatched_since`: when the log was last written, microseconds."""

    def __init__(self, store: EventStore, log: HomeLog, ledger: Ledger, unwatched_since: int) -> None:
        self._store = store
        self._log = log
        self._ledger = ledger
        self._unwatched_since = unwatched_since

    async def recover(self, supervisor: Supervisor, waits: Waits, *, announce: bool) -> RecoveryReport:
        """Replay, compare, act; the same again changes nothing. `announce`: record each re-attachment."""
        begun = time.monotonic()
        crash_point("coordinator.before_recovery")
        self.load([agent for agent in self._log.living_agents() if agent not in self._ledger.states])
        unwatched = max(0, now_microseconds() - self._unwatched_since) / 1e6
        counts: dict[str, int] = {}
        looked_at = list(self._ledger.states)
        stops = 0
        for agent_id in looked_at:
            try:
                conclusion = supervisor.reconcile(
                    agent_id, is_recovery=True, unwatched=unwatched, announce=announce
                )
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise OutliveError(f"cannot look at {agent_id}: {error}; raise `ulimit -n`") from error
                supervisor.look_later(agent_id)  # its files are at fault; the other agents' are not
                conclusion = None
            kind = "pending" if conclusion is None else conclusion.counts_as
            counts[kind] = counts.get(kind, 0) + 1
            after = self._ledger.states[agent_id].phase
            stops += isinstance(after, Live) and after.stop is not None and kind == "reattached"
        judged = [self._ledger.states[agent_id] for agent_id in looked_at]
        due = sum(is_due(state, now_microseconds()) for state in judged) if announce else 0
        if announce:
            supervisor.release_attempts()
        await supervisor.turn.commit_soon()
        crash_point("coordinator.after_recovery")
        await waits.settle_starts(self._ledger.states, START_SETTLES_SECONDS)
        self._unwatched_since = now_microseconds()
        report = RecoveryReport(
            reattached=counts.get("reattached", 0),
            ended=counts.get("ended", 0),
            lost=counts.get("lost", 0),
            never_started=counts.get("never started", 0),
            pending=counts.get("pending", 0),
            resumed_stops=stops,
            due_attempts=due,
            exit_codes_known=sum(1 for state in judged if has_known_exit(state)),
            duration_seconds=round(time.monotonic() - begun, 6),
        )
        if announce or report.ended or report.lost or report.never_started:
            self._log.append_recovery(report)
        return report

    def load(self, ids: Sequence[str]) -> None:
        """Replay agents into the ledger. Raises `StoreDamaged`."""
        self.believe(replay(self._store, ids))

    def believe(self, agents: Mapping[str, Replayed]) -> None:
        """Take over what was replayed."""
        for agent_id, (state, last) in agents.items():
            self._ledger.believe(agent_id, state, last.correlation_id, last.event_id)
