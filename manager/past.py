"""Reading a home as of an earlier moment: what the log said of its agents then, and what the samples saw of them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from eventstore.errors import InvalidRequest, UnknownAgent
from eventstore.reader import Reader
from eventstore.record import rfc3339
from manager.status import NOT_ALIVE, UNSEEN, AgentStatus, Vitals
from manager.statusrows import status_of
from manager.view import ProcessRow, View
from projections import past
from projections.queries import AgentRow

SAMPLE_SECONDS = 60  # a sample that is older than this tells nothing of the moment


class Moment(NamedTuple):
    """A position of the log, or an instant in microseconds: the log as it was then."""

    position: int | None = None
    instant: int | None = None


class PastView(View):
    """The agents as they were. Of living ones only what the log says and the last sample before that moment."""

    _moment: int

    @property
    def as_of(self) -> int:
        """The instant that is shown."""
        return self._moment

    @classmethod
    def over(cls, view: View, position: int, instant: int) -> PastView:
        """What `view` would have shown when the log ended at `position`; `view` is used up by it."""
        past.show(view.reader, position=position, instant=instant)
        self = cls(view.home, view.reader, view.doubt, view.scope, view.lag)
        self._moment = instant
        return self

    def agent(self, ref: str, *, vitals: bool = True) -> AgentStatus:
        """As in the present. Raises `UnknownAgent` for one that there was not yet, too."""
        try:
            return super().agent(ref, vitals=vitals)
        except UnknownAgent as error:
            why = f"at {rfc3339(self._moment)} none had this name or id; `outlive at … ps --all` lists those that did"
            raise UnknownAgent(reference=ref, why=why, pruned_to=self.reader.base().position) from error

    def tree(self, status: AgentStatus) -> list[ProcessRow]:  # noqa: ARG002 (as the view of the present has it)
        """Nothing: nobody wrote down which processes there were."""
        return []

    def last_lines(self, status: AgentStatus, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The last lines of an attempt that had ended; what others had written by then is not known."""
        return super().last_lines(status, count) if status.exit or status.outcome else ((), ())

    def _statuses(self, rows: list[AgentRow], with_vitals: bool) -> list[AgentStatus]:
        return [
            status_of(row, self._seen(row) if with_vitals else UNSEEN, is_looked_at=False, as_of=self._moment)
            for row in rows
        ]

    def _seen(self, row: AgentRow) -> Vitals:
        if row.ended_at is not None or row.is_final:
            return NOT_ALIVE
        if row.pid is None:
            return UNSEEN
        found = self.reader.rows(
            "SELECT cpu_percent, memory_bytes, threads, processes FROM samples"
            " WHERE agent_id = ? AND attempt = ? AND sampled_at >= ? ORDER BY sampled_at DESC LIMIT 1",
            (row.agent_id, row.attempt, self._moment - SAMPLE_SECONDS * 1_000_000),
        )
        if not found:
            return UNSEEN
        cpu, memory, threads, processes = found[0]
        return replace(UNSEEN, cpu_percent=cpu, memory_bytes=memory, threads=threads, processes=processes)


def view_at(view: View, moment: Moment, *, now: int) -> PastView:
    """What `view` would have shown at `moment`; `view` is used up by it.

    Raises `InvalidRequest` for a moment that the log does not reach.
    """
    if view.is_empty:
        raise InvalidRequest(
            f"cannot look at the past of {view.home}: nothing was recorded there yet; start an agent with `outlive run`"
        )
    if moment.instant is None:
        assert moment.position is not None
        return PastView.over(view, moment.position, _instant_of(view.reader, moment.position))
    if moment.instant > now:
        raise InvalidRequest(
            f"cannot look at {rfc3339(moment.instant)}: that is yet to come; name an earlier time"
        )
    position = view.reader.position_before(moment.instant + 1)
    if position == 0:
        raise InvalidRequest(
            f"cannot look at {rfc3339(moment.instant)}: {_beginning(view.reader)}; name a later time"
        )
    return PastView.over(view, position, moment.instant)


def _instant_of(reader: Reader, position: int) -> int:
    found = reader.rows("SELECT recorded_at FROM events WHERE position = ?", (position,))
    if found:
        return int(found[0][0])
    head = reader.head().position
    if position > head:
        raise InvalidRequest(
            f"cannot look at position {position}: the log ends at {head}; name an earlier one"
        )
    raise InvalidRequest(f"cannot look at position {position}: {_beginning(reader)}; name a later one")


def _beginning(reader: Reader) -> str:
    first = reader.rows("SELECT position, recorded_at FROM events ORDER BY position LIMIT 1")
    if not first:
        return "the log is empty"
    position, at = first[0]
    return f"the log begins with position {position} at {rfc3339(at)}"
