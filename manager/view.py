"""Reading a home: what the log says of its agents, and what the system shows of the living ones.

Takes no lock and asks no coordinator. Loads neither SQLAlchemy nor pydantic, so that a listing starts quickly.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from eventstore import trust
from eventstore.chain import EMPTY
from eventstore.errors import NoDatabase, OutliveError, UnknownAgent
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import Head
from manager import homeidentity, vitals
from manager.output import tail
from manager.process.procfs import boot_id
from manager.status import NOT_ALIVE, UNSEEN, AgentStatus, HealthCheck, Summary, Vitals, check
from manager.statusrows import status_of
from projections import queries
from projections.queries import AgentRow, AttemptRow

if TYPE_CHECKING:
    from manager.redaction import Redactor


class ProcessRow(NamedTuple):
    """One process of an agent's tree. `depth` 0: the main process, or one that its shim adopted."""

    pid: int
    parent_pid: int
    depth: int
    command: str
    memory_bytes: int
    cpu_seconds: float


class Scope(NamedTuple):
    """Which of a log's agents are this home's: all, or, of a log that homes share, those with the id `own`."""

    is_shared: bool
    own: str | None

    def holds(self, row: AgentRow | AgentStatus) -> bool:
        """Whether the agent is of this home, and its processes and files are here."""
        return not self.is_shared or row.home == self.own


ALONE = Scope(is_shared=False, own=None)


def database_url(home: Path, given: str | None) -> str:
    """`given`, else SQLite in the home."""
    return given or f"sqlite:///{home / 'events.db'}"


class View:
    """Everything that can be read. Safe for threads; close it when done.

    `doubt` says why the log may not be the one that was written, `lag` why it may be behind; None where nothing speaks
    for that. `notice` says what to know of a place where there is no log yet.
    """

    notice: str | None = None

    def __init__(
        self,
        home: Path,
        reader: Reader | None,
        doubt: str | None = None,
        scope: Scope = ALONE,
        lag: str | None = None,
    ) -> None:
        self._home = home
        self._reader = reader
        self.doubt = doubt
        self.lag = lag
        self.scope = scope
        self._sampler = vitals.Sampler()
        self._sampler_lock = threading.Lock()

    @classmethod
    def open(cls, home: Path, url: str | None = None, *, to_write: bool = False) -> View:
        """A view of the home at `home`. One where nothing was recorded yet reads as empty. `to_write`: see `source_of`.

        Raises `StoreUnavailable`, `StoreDamaged` or `SchemaMismatch`.
        """
        known, doubt = _known(home)  # before the log is looked at, which may grow meanwhile
        scope = _scope(home, url)
        try:
            reader = Reader.open(database_url(home, url), to_write=to_write)
        except NoDatabase as error:
            if known.position:
                raise trust.gone(known, home / "events.db") from error
            if error.is_misnamed:
                raise
            empty = cls(home, None, doubt, scope)
            empty.notice = error.notice
            return empty
        try:
            verdict = reader.compare(known)
            lag = trust.lag(reader, verdict)
        except BaseException:
            reader.close()
            raise
        return cls(home, reader, doubt if verdict.is_intact or lag else verdict.detail, scope, lag)

    @property
    def home(self) -> Path:
        """The directory."""
        return self._home

    @property
    def as_of(self) -> int | None:
        """The instant that is shown, where it is not the present."""
        return None

    @property
    def is_empty(self) -> bool:
        """Whether there is no log yet."""
        return self._reader is None

    @property
    def reader(self) -> Reader:
        """The log and the projections. Raises `NoDatabase` where there is none yet."""
        if self._reader is None:
            raise NoDatabase(
                f"cannot read the log of {self._home}: nothing was recorded there yet; "
                "start an agent with `outlive run`"
            )
        return self._reader

    def close(self) -> None:
        """Let go of the database."""
        if self._reader is not None:
            self._reader.close()

    def agents(
        self,
        *,
        all: bool = False,
        states: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
        vitals: bool = True,
        all_hosts: bool = False,
    ) -> list[AgentStatus]:
        """Agents in the order of their first start; the ended ones only with `all`, or where `states` asks for them.

        Of a log that several homes share, those of this one, or of `all_hosts`.
        """
        if self._reader is None:
            return []
        rows = queries.agents(
            self._reader,
            include_final=all or bool(states),
            state=list(states) or None,
            labels=labels,
            home=None if all_hosts else self.scope.own,
        )
        return self._statuses(rows, vitals)

    def agent(self, ref: str, *, vitals: bool = True) -> AgentStatus:
        """One agent by name (a living one first, else the newest), id, or unambiguous beginning of an id.

        One of this home first; `host/name` names another's. Raises `UnknownAgent`, `AmbiguousAgent`.
        """
        if self._reader is None:
            raise UnknownAgent(reference=ref)
        return self._statuses([queries.agent(self._reader, ref, home=self.scope.own)], vitals)[0]

    def by_ids(self, ids: Sequence[str]) -> list[AgentStatus]:
        """Agents by their whole ids, in that order; what is seen of the living only where there is one."""
        found = queries.agents_by_id(self.reader, ids)
        rows = [found[agent_id] for agent_id in ids]
        try:
            return self._statuses(rows, len(ids) == 1)
        except vitals.CannotLook:  # what was asked for is done all the same
            return self._statuses(rows, False)

    def summary(self) -> Summary:
        """Counts of all agents by state; what the living ones use together."""
        counts = {} if self._reader is None else queries.counts(self._reader, home=self.scope.own)
        live = [status for status in self.agents() if status.vitals.processes]
        return Summary(
            total=sum(counts.values()),
            live=sum(1 for status in live if status.is_alive),
            by_state=counts,
            cpu_percent=round(sum(status.vitals.cpu_percent or 0.0 for status in live), 1),
            memory_bytes=sum(status.vitals.memory_bytes or 0 for status in live),
            processes=sum(status.vitals.processes or 0 for status in live),
            zombies=sum(1 for status in live if status.vitals.is_zombie),
        )

    def health(self, refs: Sequence[str] = ()) -> list[HealthCheck]:
        """A quick check of the named agents, or of all that have not ended. Raises as `agent` does."""
        found = [self.agent(ref) for ref in refs] if refs else self.agents()
        return [check(status) for status in found]

    def attempts(self, ref: str) -> list[AttemptRow]:
        """Every attempt of an agent, first to last."""
        return queries.attempts(self.reader, self.agent(ref, vitals=False).id)

    def tree(self, status: AgentStatus) -> list[ProcessRow]:
        """The processes of a living agent now, parents first; none of one that is not alive."""
        if self._reader is None or not (status.vitals.processes or 0):
            return []
        row = queries.agent(self._reader, status.id)
        if row.pid is None:
            return []
        redactor = self._redactor(row.directory)
        rows = []
        for pid, parent, depth in vitals.tree(_target(row)):
            memory, cpu = vitals.memory_and_cpu(pid)
            command = " ".join(redactor.arguments(vitals.command_line(pid) or ("[ended]",)))
            rows.append(ProcessRow(pid, parent, depth, command, memory, cpu))
        return rows

    def last_lines(self, status: AgentStatus, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The last lines of its latest attempt's stdout and stderr, redacted."""
        shown = self._redactor(status.directory).output
        out, err = (
            tail(self.log_path(status, stream=stream), count, shown) for stream in ("stdout", "stderr")
        )
        return out, err

    def log_path(
        self, status: AgentStatus, *, stream: Literal["stdout", "stderr"], attempt: int | None = None
    ) -> Path:
        """Where an attempt's output is; by default the latest attempt's. The file may be missing."""
        directory = self._home / status.directory
        if attempt is not None:
            directory = directory.parent / str(attempt)
        return directory / f"{stream}.log"

    def _statuses(self, rows: list[AgentRow], with_vitals: bool) -> list[AgentStatus]:
        here = boot_id()
        targets = [
            (index, _target(row))
            for index, row in enumerate(rows)
            if with_vitals
            and self.scope.holds(row)
            and row.ended_at is None
            and row.pid
            and row.boot_id == here
        ]
        with self._sampler_lock:
            samples = self._sampler.sample([target for _, target in targets])
        seen = dict(zip((index for index, _ in targets), samples, strict=True))
        return [
            status_of(row, self._redacted(row, seen.get(index, NOT_ALIVE)), is_looked_at=with_vitals)
            if self.scope.holds(row)
            else status_of(row, UNSEEN, is_looked_at=False)
            for index, row in enumerate(rows)
        ]

    def _redactor(self, directory: str) -> Redactor:
        from manager.attemptsecrets import redactor_of  # its patterns take a twentieth of `outlive ps`

        return redactor_of(self._home / directory)

    def _redacted(self, row: AgentRow, seen: Vitals) -> Vitals:
        """With a command line that may be shown: the recorded one may, another one has to be looked through."""
        line = seen.command_line
        if line is None or line == row.command:
            return seen
        return replace(seen, command_line=self._redactor(row.directory).arguments(line))


def _known(home: Path) -> tuple[Head, str | None]:
    """The head that is kept outside the log; why it cannot be told, if it cannot."""
    try:
        return HeadFile(home / "head").read() or EMPTY, None
    except OutliveError as error:
        return EMPTY, str(error)


def _target(row: AgentRow) -> vitals.Target:
    assert row.pid is not None
    return vitals.Target(row.pid, row.start_ticks, row.shim_pid, with_command=True)


def _scope(home: Path, url: str | None) -> Scope:
    if database_url(home, url) == database_url(home, None):
        return ALONE
    try:
        return Scope(is_shared=True, own=homeidentity.read(home / "home.json").id)
    except (OSError, OutliveError):  # no home, or none yet: one that only looks, at all of them
        return Scope(is_shared=True, own=None)
