"""`Manager`: the door for a coordinator's own Python code; `manager.aio.AsyncManager` is its asyncio twin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from eventstore.errors import InvalidRequest, StoreUnavailable, UnknownAgent
from eventstore.payloads import lines_of
from eventstore.store import now_microseconds
from manager import commands as do
from manager import launching
from manager.attemptsecrets import of_request
from manager.control import ControlServer
from manager.coordinator import Coordinator
from manager.erasing import Eraser
from manager.errors import SpecConflict, StartFailed, system_refusals
from manager.following import Following
from manager.home import Home, find_home
from manager.looking import AgentRef, Looking
from manager.origin import Origin, user_name
from manager.recordable import check_reason
from manager.refusals import RefusalLog
from manager.requests import carry_out
from manager.spec import AgentSpec, Grace, check_grace, check_name
from manager.status import AgentStatus, Erasure, RecoveryReport
from manager.view import View
from manager.view import database_url as default_url


class Manager(Looking):
    """The one coordinator of a home, for any number of threads. Closing it leaves the agents running.

    Open it with `Manager.open`. `agent` arguments are a name, an id, an unambiguous beginning of an id, or the object
    that `spawn` returned. All methods raise `UnknownAgent` and `AmbiguousAgent` for agents they cannot find,
    `StoreUnavailable` when the log cannot be read or written, `EpochFenced` once another coordinator has taken over.
    """

    def __init__(self, home: Home, coordinator: Coordinator, view: View, actor: str) -> None:
        super().__init__(coordinator, view)
        self._home = home
        self._actor = actor
        self._control: ControlServer | None = None
        self._following: Following | None = None
        self.recovery: RecoveryReport | None = None

    @classmethod
    @system_refusals("open the home")
    def open(
        cls,
        home: str | os.PathLike[str] | None = None,
        database_url: str | None = None,
        actor: str | None = None,
        *,
        takeover: bool = False,
        announce: bool = True,
        ends_agents: bool = False,
    ) -> Self:
        """Take the home (made if missing), replay the log, re-attach the survivors; `recovery` says what was found.

        `home`: default as on the command line (OUTLIVE_HOME, else the XDG state directory). `actor`: who asks;
        default `python:<user>`. `takeover`: end a holder that does not answer. `announce`: record re-attachments, and
        keep projections near the log (commands do not). `ends_agents`: open for stops where the log cannot be written.
        Raises `HomeError`, `HomeBusy`, `SchemaMismatch`, `StoreUnavailable`, `StoreDamaged`, `SystemRefused`; warns
        (UserWarning) where checkpoints of the log are gone.
        """
        place = Home(find_home(None if home is None else os.fspath(home)))
        who = actor or f"python:{user_name()}"
        url = default_url(place.path, database_url or os.environ.get("OUTLIVE_DATABASE_URL"))
        coordinator = Coordinator.open(place, url, actor=who, takeover=takeover, ends_agents=ends_agents)
        try:
            manager = cls(place, coordinator, View.open(place.path, url, to_write=True), who)
            lacking = (StoreUnavailable, OSError) if ends_agents else ()  # room for an event, for a socket
            with contextlib.suppress(*lacking):
                manager.recovery = coordinator.call(coordinator.recover(announce=announce)).result()
            with contextlib.suppress(*lacking):
                refusals = RefusalLog(coordinator)
                manager._control = ControlServer(place.control_socket, partial(carry_out, manager), refusals)
            if announce:
                manager._following = Following(coordinator.store)
            return manager
        except BaseException:
            coordinator.close()
            raise

    def close(self, *, stop_agents: bool = False) -> None:
        """Let go of the home; agents run on, unless `stop_agents` asks to stop them first. May be called twice."""
        try:
            if stop_agents:
                self.stop_all(reason="its manager was closed")
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._following is None:
            self._coordinator.close()
        else:
            self._following.stop()
            self._coordinator.close(at_last=self._following.finish)
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- starting -----------------------------------------------------------------------------------------------

    def spawn(self, spec: AgentSpec, name: str | None = None, *, wait: bool = True) -> AgentStatus:
        """Start one agent and verify that it lives through its start window (without `wait`: only record and launch).

        Raises `NameInUse`, `InvalidRequest` (bad name or user) with nothing started, and `StartFailed`.
        """
        return self._verified(self.spawn_many([(name, spec)], wait=wait)[0], wait)

    def spawn_many(
        self, items: Sequence[tuple[str | None, AgentSpec]], *, wait: bool = True
    ) -> list[AgentStatus]:
        """Start many side by side, their start windows overlapping; in order of `items`.

        A failed start is in the list as an agent that is FAILED. Raises `NameInUse` and `InvalidRequest` with none
        started.
        """
        nofile = self._coordinator.nofile
        starts = [
            self._start(name, spec, launching.first_request(spec, nofile=nofile)) for name, spec in items
        ]
        return self._spawn(starts, wait, None)

    def spawn_prepared(
        self,
        spec: AgentSpec,
        name: str | None,
        request: dict[str, Any],
        *,
        wait: bool,
        actor: str | None = None,
    ) -> AgentStatus:
        """`spawn` with the environment and directory of another process, which made `request` of them."""
        return self._verified(self._spawn([self._start(name, spec, request)], wait, actor)[0], wait)

    def _spawn(self, starts: list[launching.Start], wait: bool, actor: str | None) -> list[AgentStatus]:
        ids = self._do(self._coordinator.spawn(starts, self._origin(actor), wait=wait))
        return self._view.by_ids(ids)

    def ensure(self, name: str, spec: AgentSpec) -> AgentStatus:
        """The agent of this name, ended or not; started if there is none. It never starts a second one.

        Raises `SpecConflict` when that agent was started with another spec, and as `spawn` does.
        """
        try:
            status = self._view.agent(check_name(name))
        except UnknownAgent:
            return self.spawn(spec, name)
        # An id that begins like this name is somebody else, and so is another home's agent.
        if status.name != name or status.home != self._coordinator.identity.id:
            return self.spawn(spec, name)
        first = next(self._view.reader.events(stream=f"agent/{status.id}", types=("SPAWNING",), limit=1))
        if first.as_json()["data"]["spec_digest"] != spec.digest(self._coordinator.identity.key):
            raise SpecConflict(name=name, holder=status.id)
        return status

    def restart(
        self, agent: AgentRef, *, reason: str | None = None, wait: bool = True, actor: str | None = None
    ) -> AgentStatus:
        """Stop it if it runs, then start its next attempt, verified. Raises `StartFailed`."""
        agent_id = self._own_id(agent)
        self._do(self._coordinator.restart(agent_id, check_reason(reason), self._origin(actor), wait=wait))
        return self._verified(self._view.agent(agent_id), wait)

    # --- ending -------------------------------------------------------------------------------------------------

    def stop(
        self, agent: AgentRef, grace: Grace | None = None, reason: str | None = None, *, wait: bool = True
    ) -> AgentStatus:
        """Three stages: SIGTERM, SIGTERM to the tree, SIGKILL to the tree, with the waits of `grace` or of its spec.

        The status after its end, or, when the last wait has passed in vain, STOPPING. What has ended stays as it is.
        """
        return self.stop_many([agent], grace=grace, reason=reason, wait=wait)[0]

    def stop_many(
        self,
        agents: Sequence[AgentRef],
        *,
        grace: Grace | None = None,
        reason: str | None = None,
        wait: bool = True,
        forced: bool = False,
        actor: str | None = None,
    ) -> list[AgentStatus]:
        """`stop`, or (`forced`) `kill`, for many side by side; in order of `agents`."""
        ids = [self._own_id(agent) for agent in agents]
        command = do.RequestStop(reason=check_reason(reason), forced=forced, grace_seconds=check_grace(grace))
        self._do(self._coordinator.stop(ids, command, self._origin(actor), wait=wait))
        return self._view.by_ids(ids)

    def stop_all(self, grace: Grace | None = None, reason: str | None = None) -> list[AgentStatus]:
        """`stop` for all that have not ended."""
        return self.stop_many(
            [status.id for status in self._view.agents(vitals=False)], grace=grace, reason=reason
        )

    def kill(self, agent: AgentRef, reason: str | None = None, *, wait: bool = True) -> AgentStatus:
        """SIGKILL to the whole tree at once; the status once the tree is gone."""
        return self.stop_many([agent], reason=reason, wait=wait, forced=True)[0]

    def kill_all(self, reason: str | None = None) -> list[AgentStatus]:
        """`kill` for all that have not ended."""
        return self.stop_many(
            [status.id for status in self._view.agents(vitals=False)], reason=reason, forced=True
        )

    def signal(
        self, agent: AgentRef, signum: int, *, reason: str | None = None, actor: str | None = None
    ) -> AgentStatus:
        """One signal to the main process, recorded first. Raises `InvalidRequest` when nothing of it runs."""
        if not 1 <= signum <= 64:
            raise InvalidRequest(f"cannot send signal {signum}: signals are 1 to 64")
        agent_id = self._own_id(agent)
        command = do.SendSignal(signal=int(signum), reason=check_reason(reason))
        self._do(self._coordinator.signal(agent_id, command, self._origin(actor)))
        return self._view.agent(agent_id)

    def wait(self, agent: AgentRef, timeout: float | None = None) -> AgentStatus:
        """Until it has ended with no further attempt to come. Raises `TimedOut` after `timeout` seconds."""
        return self.wait_many([agent], timeout=timeout)[0]

    def wait_many(
        self, agents: Sequence[AgentRef], *, any: bool = False, timeout: float | None = None
    ) -> list[AgentStatus]:
        """`wait` for all of them, or until `any` has ended; the statuses of all, in order."""
        ids = [self._own_id(agent) for agent in agents]
        if ids:
            self._do(self._coordinator.wait(ids, any_of_them=any), timeout=timeout)
        return self._view.by_ids(ids)

    # --- upkeep -------------------------------------------------------------------------------------------------

    def recover(self) -> RecoveryReport:
        """Replay, compare with what is there, act on the difference. Opening did so already; again changes nothing."""
        report: RecoveryReport = self._do(self._coordinator.recover(announce=True))
        return report

    def finish_stops(self) -> list[AgentStatus]:
        """Wait for the stops that are under way, at most until their last deadlines; their agents as they are then."""
        return self._view.by_ids(self._do(self._coordinator.waits.finish_stops(now_microseconds())))

    def reap_zombies(self) -> list[AgentStatus]:
        """The agents whose end was still to be recorded, and now is. Shims reap; this collects what they saw."""
        before = {status.id for status in self._view.agents(vitals=False)}
        self._do(self._coordinator.recover(announce=False))
        after = {status.id for status in self._view.agents(vitals=False)}
        return self._view.by_ids(sorted(before - after))

    def erase(
        self, agent: AgentRef, *, output: bool = False, reason: str | None = None, actor: str | None = None
    ) -> Erasure:
        """Erase the last lines of output that its failures keep; `output`: its stdout.log and stderr.log, too.

        The log records who did so and why, and stays whole.
        """
        status = self._view.agent(self._own_id(agent), vitals=False)
        eraser = Eraser(self._coordinator, self._view.reader, self._home.path)
        return eraser.erase(status, reason, output, actor or self._actor)

    # --- the names of the design that this one replaced -----------------------------------------------------------

    spawn_agent = spawn
    kill_agent = kill

    def cleanup(self, agent: AgentRef | None = None) -> list[AgentStatus]:
        """`stop` for one agent, or `stop_all`."""
        return self.stop_all() if agent is None else [self.stop(agent)]

    # --- details ------------------------------------------------------------------------------------------------

    def _start(self, name: str | None, spec: AgentSpec, request: dict[str, Any]) -> launching.Start:
        recorded = spec.recorded(of_request(request))
        chosen = launching.default_name(recorded) if name is None else check_name(name)
        return launching.Start(chosen, recorded, spec.digest(self._coordinator.identity.key), request)

    def _verified(self, status: AgentStatus, wait: bool) -> AgentStatus:
        if not wait or status.state != "FAILED" or status.cause != "failed start":
            return status
        failures = list(self._view.reader.events(stream=f"agent/{status.id}", types=("FAILED",)))
        failed = failures[-1].as_json()["data"]
        raise StartFailed.of(status, failed, lines_of(self._view.reader, failed["last_output"]))

    def _origin(self, actor: str | None) -> Origin:
        return Origin.of(actor or self._actor)
