"""What `Manager` answers: questions about agents and the log, which change no agent.

What only a few questions need is imported when they are asked: each command that starts an agent pays for the rest.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from eventstore.errors import InvalidRequest, StoreUnavailable
from eventstore.record import RecordedEvent
from eventstore.samples import Sample, samples
from eventstore.store import now_microseconds
from eventstore.values import Health
from manager import commands as do
from manager.coordinator import Coordinator
from manager.errors import TimedOut, system_refusals
from manager.status import AgentStatus, HealthCheck, Summary
from manager.view import View

if TYPE_CHECKING:
    from manager.analysis import Analysis, Name
    from manager.why.model import PostMortem
    from projections.reporting import Report

AgentRef = str | AgentStatus


class Looking:
    """The part of `Manager` that asks. Errors as there."""

    def __init__(self, coordinator: Coordinator, view: View) -> None:
        self._coordinator = coordinator
        self._view = view

    def status(self, agent: AgentRef) -> AgentStatus:
        """What the log knows and the system shows of one agent; CPU between two looks, 50 ms apart or more."""
        return self._view.agent(_ref(agent))

    def statuses(self, *, all: bool = False) -> list[AgentStatus]:
        """The same of every agent that has not ended, or of `all`."""
        return self._view.agents(all=all)

    def summary(self) -> Summary:
        """Counts by state, and what the living agents use together."""
        return self._view.summary()

    def health(self, agent: AgentRef) -> HealthCheck:
        """A quick check of one agent: alive, not a zombie, not stopped. A change is recorded (HEALTH_CHANGED)."""
        check = self._view.health([_ref(agent)])[0]
        observed = do.ObserveHealth(health=Health(check.health), evidence=check.why)
        self._do(self._coordinator.observe_health(check.id, observed))
        return check

    def ping(self) -> None:
        """Return once the coordinator's thread has had a turn: it is not stuck."""
        self._do(asyncio.sleep(0))

    def samples(self, agent: AgentRef, attempt: int | None = None) -> list[Sample]:
        """What an agent, or one of its attempts, was seen to use, in order of time: see `docs/samples.md`.

        Raises `InvalidRequest` for an attempt that is no number.
        """
        return samples(self._view.reader, self._id(agent), _attempt(attempt))

    def events(
        self, after: int = 0, follow: bool = False, agent: AgentRef | None = None
    ) -> Iterator[RecordedEvent]:
        """The log after position `after`, in order; with `follow` it goes on as events come, and does not end."""
        stream = None if agent is None else f"agent/{self._id(agent)}"
        if not follow:
            yield from self._view.reader.events(after=after, stream=stream)
            return
        for event in self._coordinator.store.follow(after=after):
            if stream is None or event.stream == stream:
                yield event

    def why(self, agent: AgentRef, attempt: int | None = None) -> PostMortem:
        """Why an attempt, by default the last one, ended: cause, how certain it is, evidence, what followed, proof.

        Of one that runs: what is known so far, and the last failure. Raises `InvalidRequest` where there was no such
        attempt.
        """
        from manager.why.collect import why

        return why(self._view, _ref(agent), _attempt(attempt))

    def report(
        self,
        name: str,
        *,
        by: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Report:
        """Failures, durations, restarts, uptime, resources or recoveries, grouped `by`; see `docs/reports.md`.

        A log that cannot be written is reported as far as its projections have come (`Report.position`). Raises
        `InvalidRequest` for a report or a grouping that there is not, and a time that is no `datetime`.
        """
        from projections.reporting import report

        self._catch_up()
        return report(
            self._view.reader,
            name,
            by=by,
            since=_microseconds(since),
            until=_microseconds(until),
            now=now_microseconds(),
        )

    def analyse(
        self,
        name: Name,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        threshold: float | None = None,
    ) -> Analysis:
        """Trends, anomalies or risks, with a sentence for each finding; see `docs/analytics.md`.

        `threshold`: the least score. Raises `InvalidRequest` for an analysis that there is not, a threshold that no
        score has, and a time that is no `datetime`.
        """
        from manager.analysis import analyse

        self._catch_up()
        return analyse(
            self._view,
            name,
            now=now_microseconds(),
            since=_microseconds(since),
            until=_microseconds(until),
            threshold=threshold,
        )

    # --- the names of the design that this one replaced -----------------------------------------------------------

    get_agent_status = status
    monitor_all_agents = statuses
    get_process_summary = summary
    check_process_health = health

    # --- details ------------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        from projections.catchup import catch_up

        with contextlib.suppress(StoreUnavailable):
            catch_up(self._coordinator.store)

    def _id(self, agent: AgentRef) -> str:
        return agent.id if isinstance(agent, AgentStatus) else self._view.agent(agent, vitals=False).id

    def _own_id(self, agent: AgentRef) -> str:
        """The same of one to be changed; a living one is known by its name while the log cannot be read, too.

        Raises `InvalidRequest` for one of another home.
        """
        living = list(self._coordinator.ledger.states.items())  # at once: its thread goes on
        held = [
            agent_id for agent_id, state in living if agent in (agent_id, state.name) and not state.is_final
        ]
        if len(held) == 1:
            return held[0]
        status = agent if isinstance(agent, AgentStatus) else self._view.agent(agent, vitals=False)
        if status.home not in ("", self._coordinator.identity.id):
            raise InvalidRequest(
                f"cannot act on {status.name}: it belongs to home {status.home} on {status.host}; do it there"
            )
        return status.id

    @system_refusals("go on")
    def _do(self, work: Any, timeout: float | None = None) -> Any:
        future = self._coordinator.call(work)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimedOut.after(timeout or 0.0) from None
        except concurrent.futures.CancelledError as error:
            raise InvalidRequest("cannot go on: the manager was closed meanwhile; open another") from error


def _microseconds(at: object) -> int | None:
    if at is None:
        return None
    if not isinstance(at, datetime):
        raise InvalidRequest(
            f"cannot use {at!r} as a time: it is no datetime; give one, like datetime.now(UTC) - timedelta(hours=1)"
        )
    try:
        return round(at.timestamp() * 1e6)
    except (ValueError, OverflowError) as error:  # years 1 and 9999, in a zone that goes beyond them
        raise InvalidRequest(f"cannot use {at} as a time: {error}; give another") from error


def _attempt(attempt: object) -> int | None:
    if attempt is None or (isinstance(attempt, int) and not isinstance(attempt, bool)):
        return attempt
    raise InvalidRequest(
        f"cannot look up attempt {attempt!r}: attempts are whole numbers from 1 on; give one as an int"
    )


def _ref(agent: AgentRef) -> str:
    return agent.id if isinstance(agent, AgentStatus) else agent
