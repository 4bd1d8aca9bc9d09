"""`AsyncManager`: the same names as `Manager`, awaitable. Work runs in threads; many calls at once share commits."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from eventstore.record import RecordedEvent
from eventstore.samples import Sample
from manager.analysis import Analysis, Name
from manager.looking import AgentRef
from manager.manager import Manager
from manager.spec import AgentSpec, Grace
from manager.status import AgentStatus, Erasure, HealthCheck, RecoveryReport, Summary
from manager.why.model import PostMortem
from projections.reporting import Report

MOST_CALLS_AT_ONCE = 256  # each may wait for long (a stop, an end), and a waiting thread costs little

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncManager:
    """Open it with `await AsyncManager.open(…)`, use it with `async with`; see `Manager` for each method.

    Cancelling a call gives up waiting for it; what was ordered is carried out.
    """

    def __init__(self, manager: Manager, threads: ThreadPoolExecutor) -> None:
        self._manager = manager
        self._threads = threads

    @classmethod
    async def open(
        cls,
        home: str | os.PathLike[str] | None = None,
        database_url: str | None = None,
        actor: str | None = None,
        *,
        takeover: bool = False,
    ) -> Self:
        """See `Manager.open`."""
        threads = ThreadPoolExecutor(MOST_CALLS_AT_ONCE, thread_name_prefix="outlive-call")
        opening = functools.partial(Manager.open, home, database_url, actor, takeover=takeover)
        return cls(await asyncio.get_running_loop().run_in_executor(threads, opening), threads)

    async def close(self, *, stop_agents: bool = False) -> None:
        """See `Manager.close`."""
        await self._call(self._manager.close, stop_agents=stop_agents)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def spawn(self, spec: AgentSpec, name: str | None = None, *, wait: bool = True) -> AgentStatus:
        """See `Manager.spawn`."""
        return await self._call(self._manager.spawn, spec, name, wait=wait)

    async def spawn_many(
        self, items: Sequence[tuple[str | None, AgentSpec]], *, wait: bool = True
    ) -> list[AgentStatus]:
        """See `Manager.spawn_many`."""
        return await self._call(self._manager.spawn_many, items, wait=wait)

    async def ensure(self, name: str, spec: AgentSpec) -> AgentStatus:
        """See `Manager.ensure`."""
        return await self._call(self._manager.ensure, name, spec)

    async def restart(self, agent: AgentRef, *, reason: str | None = None) -> AgentStatus:
        """See `Manager.restart`."""
        return await self._call(self._manager.restart, agent, reason=reason)

    async def status(self, agent: AgentRef) -> AgentStatus:
        """See `Manager.status`."""
        return await self._call(self._manager.status, agent)

    async def statuses(self, *, all: bool = False) -> list[AgentStatus]:
        """See `Manager.statuses`."""
        return await self._call(self._manager.statuses, all=all)

    async def summary(self) -> Summary:
        """See `Manager.summary`."""
        return await self._call(self._manager.summary)

    async def health(self, agent: AgentRef) -> HealthCheck:
        """See `Manager.health`."""
        return await self._call(self._manager.health, agent)

    async def analyse(
        self,
        name: Name,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        threshold: float | None = None,
    ) -> Analysis:
        """See `Manager.analyse`."""
        return await self._call(self._manager.analyse, name, since=since, until=until, threshold=threshold)

    async def samples(self, agent: AgentRef, attempt: int | None = None) -> list[Sample]:
        """See `Manager.samples`."""
        return await self._call(self._manager.samples, agent, attempt)

    async def why(self, agent: AgentRef, attempt: int | None = None) -> PostMortem:
        """See `Manager.why`."""
        return await self._call(self._manager.why, agent, attempt)

    async def stop(
        self, agent: AgentRef, grace: Grace | None = None, reason: str | None = None
    ) -> AgentStatus:
        """See `Manager.stop`."""
        return await self._call(self._manager.stop, agent, grace, reason)

    async def stop_many(
        self, agents: Sequence[AgentRef], *, grace: Grace | None = None, reason: str | None = None
    ) -> list[AgentStatus]:
        """See `Manager.stop_many`."""
        return await self._call(self._manager.stop_many, agents, grace=grace, reason=reason)

    async def stop_all(self, grace: Grace | None = None, reason: str | None = None) -> list[AgentStatus]:
        """See `Manager.stop_all`."""
        return await self._call(self._manager.stop_all, grace, reason)

    async def kill(self, agent: AgentRef, reason: str | None = None) -> AgentStatus:
        """See `Manager.kill`."""
        return await self._call(self._manager.kill, agent, reason)

    async def kill_all(self, reason: str | None = None) -> list[AgentStatus]:
        """See `Manager.kill_all`."""
        return await self._call(self._manager.kill_all, reason)

    async def signal(self, agent: AgentRef, signum: int, *, reason: str | None = None) -> AgentStatus:
        """See `Manager.signal`."""
        return await self._call(self._manager.signal, agent, signum, reason=reason)

    async def wait(self, agent: AgentRef, timeout: float | None = None) -> AgentStatus:
        """See `Manager.wait`; `asyncio.timeout` does as well."""
        return await self._call(self._manager.wait, agent, timeout)

    async def wait_many(
        self, agents: Sequence[AgentRef], *, any: bool = False, timeout: float | None = None
    ) -> list[AgentStatus]:
        """See `Manager.wait_many`."""
        return await self._call(self._manager.wait_many, agents, any=any, timeout=timeout)

    async def ping(self) -> None:
        """See `Manager.ping`."""
        await self._call(self._manager.ping)

    async def finish_stops(self) -> list[AgentStatus]:
        """See `Manager.finish_stops`."""
        return await self._call(self._manager.finish_stops)

    async def reap_zombies(self) -> list[AgentStatus]:
        """See `Manager.reap_zombies`."""
        return await self._call(self._manager.reap_zombies)

    async def erase(self, agent: AgentRef, *, output: bool = False, reason: str | None = None) -> Erasure:
        """See `Manager.erase`."""
        return await self._call(self._manager.erase, agent, output=output, reason=reason)

    async def recover(self) -> RecoveryReport:
        """See `Manager.recover`."""
        return await self._call(self._manager.recover)

    async def report(
        self,
        name: str,
        *,
        by: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Report:
        """See `Manager.report`."""
        return await self._call(self._manager.report, name, by=by, since=since, until=until)

    async def events(
        self, after: int = 0, follow: bool = False, agent: AgentRef | None = None
    ) -> AsyncIterator[RecordedEvent]:
        """See `Manager.events`; with `follow`, cancel the task to end it."""
        while True:
            page = await self._call(self._page, after, agent)
            for event in page:
                after = event.position
                yield event
            if not page and not follow:
                return
            if not page:
                await asyncio.sleep(0.05)

    spawn_agent = spawn
    get_agent_status = status
    monitor_all_agents = statuses
    get_process_summary = summary
    check_process_health = health
    kill_agent = kill

    async def cleanup(self, agent: AgentRef | None = None) -> list[AgentStatus]:
        """See `Manager.cleanup`."""
        return await self._call(self._manager.cleanup, agent)

    def _page(self, after: int, agent: AgentRef | None) -> list[RecordedEvent]:
        page = []
        for event in self._manager.events(after, agent=agent):
            page.append(event)
            if len(page) == 500:
                break
        return page

    def _call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Awaitable[_T]:
        work: Callable[[], _T] = functools.partial(function, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, work)
