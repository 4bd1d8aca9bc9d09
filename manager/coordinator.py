"""A coordinator: the home's lock, its epoch, its store, and one thread whose event loop runs the `Supervisor`.

Everything here that is `async` runs in that thread. Opening fences every older coordinator; recovering replays the
streams of all agents that have not ended and compares each with what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from eventstore.errors import InvalidRequest, NameInUse, OutliveError, StoreUnavailable
from eventstore.home_events import CoordinatorStopped
from eventstore.state import Waiting
from eventstore.store import EventStore, now_microseconds
from manager import commands as do
from manager import launching
from manager.attemptsecrets import without_secrets
from manager.conditions import is_known, is_over, is_stuck, is_verified, refused
from manager.eventloop import event_loop, keep_awake
from manager.home import Home, HomeLock
from manager.homeidentity import HomeIdentity
from manager.homelog import HomeLog, open_log
from manager.ledger import Ledger
from manager.origin import Origin
from manager.patience import all_or_any
from manager.process import procfs
from manager.recovering import START_SETTLES_SECONDS, Recovering
from manager.replay import replay
from manager.sampling import Sampling
from manager.status import RecoveryReport
from manager.supervisor import Supervisor
from manager.takeover import take
from manager.waits import Waits

STARTS_A_COMMIT = 100
STOP_SETTLES_SECONDS = 20.0  # the same before a stop: a thousand at once take a few

_T = TypeVar("_T")


class Coordinator:
    """Open at most one a home. Methods that are not async may be called from any thread but its own."""

    def __init__(
        self, home: Home, identity: HomeIdentity, lock: HomeLock, store: EventStore, log: HomeLog
    ) -> None:
        self._home = home
        self._lock = lock
        self.log = log
        self._sampling = Sampling(store)
        living = replay(store, self.log.living_agents())  # before anything is written
        unwatched_since = self.log.last_recorded_at()
        redacted = partial(without_secrets, home.path)
        epoch = self.log.begun(lock.taken_over_from)
        self.ledger = Ledger(store, epoch=epoch, clock=now_microseconds, redacted=redacted)
        self._recovering = Recovering(store, self.log, self.ledger, unwatched_since)
        self._recovering.believe(living)
        self._thread = threading.Thread(target=self._run, name="outlive-coordinator", daemon=True)
        self._loop = event_loop()
        self._prepared: Future[Supervisor] = Future()
        self._pid = os.getpid()
        self._calls = threading.Lock()
        self._is_closing = False
        self.identity = identity
        self.store = store
        self.nofile = launching.raise_own_descriptor_limit()
        try:
            self._thread.start()
            self.supervisor = self._prepared.result()
            self.waits = Waits(self.ledger, self.supervisor.turn, self.supervisor.attached.get)
            self._loop.call_soon_threadsafe(self._sampling.begin, self._loop, self.supervisor)
        except BaseException:
            self._loop.close()
            raise

    @classmethod
    def open(
        cls, home: Home, url: str, *, actor: str, takeover: bool = False, ends_agents: bool = False
    ) -> Coordinator:
        """Take the home; `ends_agents`: where the log can be read and not written, too.

        Raises `HomeError`, `HomeBusy`, and what `EventStore.open` raises; holds nothing then.
        """
        identity = home.prepare()
        lock = take(home) if takeover else home.acquire()
        try:
            store = open_log(home, identity, url)
            try:
                log = HomeLog(store, identity.id, actor, may_begin_later=ends_agents)
                return cls(home, identity, lock, store, log)
            except BaseException:
                store.close()
                raise
        except BaseException:
            lock.release()
            raise

    def call(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a coroutine of ours in the coordinator's thread. Raises `InvalidRequest` once closed or after a fork."""
        with self._calls:  # so that none comes after the last one, to wait for ever
            if os.getpid() == self._pid and not self._is_closing and self._thread.is_alive():
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise InvalidRequest(
            "cannot use this manager: it is closed, or was opened before a fork; open another"
        )

    def close(self, at_last: Callable[[], None] = lambda: None) -> None:
        """Let go of the home; agents run on. A second call does nothing. `at_last`: done before the store is closed."""
        if self._is_closing or os.getpid() != self._pid:
            return
        with self._calls:
            self._is_closing = True
            stopped = asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        stopped.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._sampling.close()
        at_last()
        self.store.close()
        self._lock.release()

    # --- orders, in the loop's thread ----------------------------------------------------------------------------

    async def spawn(self, starts: Sequence[launching.Start], origin: Origin, *, wait: bool) -> list[str]:
        """Start agents side by side; their ids, once all are running or ended (`wait`), else once they are recorded.

        Raises `NameInUse` and starts none, when a name is used by an agent that has not ended; `StoreUnavailable`
        when the intents cannot be made durable; of very many, those recorded before that run.
        """
        used = {state.name: agent_id for agent_id, state in self.ledger.states.items() if not state.is_final}
        for name, times in Counter(start.name for start in starts).items():
            if name in used or times > 1:
                raise NameInUse(name=name, holder=used.get(name, "another of the same call"))
        self.supervisor.release_attempts()
        ids = [secrets.token_hex(8) for _ in starts]
        for number, (agent_id, start) in enumerate(zip(ids, starts, strict=True), 1):
            command = do.Spawn(
                name=start.name,
                spec=start.spec,
                spec_digest=start.spec_digest,
                directory=f"agents/{agent_id}/1",
                boot_id=procfs.boot_id(),
            )
            self.supervisor.start(agent_id, command, start.request, origin)
            if number % STARTS_A_COMMIT == 0 or number == len(starts):
                # The launcher works on these while the next are recorded.
                await self._recorded_starts(starts[(number - 1) // STARTS_A_COMMIT * STARTS_A_COMMIT :])
        if wait:
            await self.waits.all_verified(ids, is_verified)
        return ids

    async def stop(self, ids: Sequence[str], command: do.RequestStop, origin: Origin, *, wait: bool) -> None:
        """Stop agents side by side; with `wait`, until each has ended or its last deadline has passed."""
        await self.waits.settle_starts(ids, STOP_SETTLES_SECONDS)
        for agent_id in sorted(set(ids) & set(self.ledger.states), key=self._is_starting):
            self.supervisor.stops.request(
                agent_id, command, origin
            )  # refused last: where no process is known
        if wait:
            await self.waits.all_stopped(ids)
        else:
            names = ", ".join(self.ledger.states[one].name for one in ids if one in self.ledger.states)
            await self.supervisor.turn.recorded(f"the stop of {names} was begun")

    async def signal(self, agent_id: str, command: do.SendSignal, origin: Origin) -> None:
        """Send one signal, recorded first. Raises `InvalidRequest` when nothing of the agent runs.

        Raises `StoreUnavailable`, and sends nothing, when it cannot be recorded.
        """
        await self.waits.settle_starts([agent_id], STOP_SETTLES_SECONDS)
        if agent_id not in self.ledger.states:
            raise InvalidRequest("cannot signal an agent that has ended: start it again first")
        with refused(f"signal {self.ledger.states[agent_id].name}", "nothing was sent"):
            self.supervisor.send_signal(agent_id, command, origin)

    async def observe_health(self, agent_id: str, command: do.ObserveHealth) -> None:
        """Record how a living agent does, if that is news."""
        if agent_id in self.ledger.states and self.supervisor.turn.apply(agent_id, command):
            with contextlib.suppress(StoreUnavailable):  # recorded when it can be
                await self.supervisor.turn.commit_soon()

    async def restart(self, agent_id: str, reason: str | None, origin: Origin, *, wait: bool) -> None:
        """Stop it if it runs, then start its next attempt with what the last one was started with."""
        await self.waits.settle_starts([agent_id], STOP_SETTLES_SECONDS)
        if agent_id not in self.ledger.states:
            self._recovering.load([agent_id])
        state = self.ledger.states[agent_id]
        holder = next(
            (i for i, s in self.ledger.states.items() if s.name == state.name and not s.is_final), None
        )
        if holder not in (None, agent_id):
            raise NameInUse(name=state.name, holder=holder or "")
        before = state.attempt
        with refused(f"restart {state.name}", "it is left as it is"):
            if state.is_final or isinstance(state.phase, Waiting):
                self.supervisor.turn.record(agent_id, do.Restart(reason=reason), origin)
            else:
                self.supervisor.stops.request(
                    agent_id, do.RequestStop(cause="restart", reason=reason), origin
                )
        self.supervisor.release_attempts()
        if wait:
            await self.waits.all_verified(
                [agent_id], lambda s: s.is_final or is_stuck(s) or (s.attempt > before and is_verified(s))
            )
        else:
            await self.supervisor.turn.commit_soon()

    async def wait(self, ids: Sequence[str], *, any_of_them: bool) -> None:
        """Until all (or any) of the agents have ended, with no further attempt to come."""
        self.supervisor.release_attempts()
        await all_or_any(
            (self.waits.all_until([agent_id], is_over) for agent_id in ids), any_of_them=any_of_them
        )

    async def recover(self, *, announce: bool) -> RecoveryReport:
        """Replay, compare, act; the same again changes nothing. `announce`: record each re-attachment."""
        return await self._recovering.recover(self.supervisor, self.waits, announce=announce)

    # --- details ------------------------------------------------------------------------------------------------

    async def _recorded_starts(self, starts: Sequence[launching.Start]) -> None:
        whom, they = (
            (starts[0].name, "it was") if len(starts) == 1 else (f"{len(starts)} agents", "they were")
        )
        with refused(f"start {whom}", f"{they} not started"):
            await self.supervisor.turn.commit_soon()

    def _is_starting(self, agent_id: str) -> bool:
        return agent_id in self.ledger.states and not is_known(self.ledger.states[agent_id])

    async def _stop(self) -> None:
        try:
            if self.supervisor.turn.deposed is None:
                for _ in range(2):  # what is staged now, and what the launcher says to the starts in it
                    await self.supervisor.turn.commit_soon()
                    await self.supervisor.launchpad.settle(START_SETTLES_SECONDS)
                left = sum(state.has_process for state in self.ledger.states.values())
                self.log.append(CoordinatorStopped(epoch=self.ledger.epoch, agents_left=left))
        except OutliveError:
            pass  # the log cannot say that we left in order; the next coordinator will find out all the same
        finally:
            self.supervisor.close()
            waits = asyncio.all_tasks() - {asyncio.current_task()}
            for wait in waits:  # of other threads, which must not hang: they are told that we have closed
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def prepare() -> Supervisor:
            keep_awake(self._loop, self.store.checkpoint_when_due)
            return Supervisor(self._home.path, self.ledger, now_microseconds)

        try:
            self._prepared.set_result(self._loop.run_until_complete(prepare()))
        except BaseException as error:  # no more threads, say: whoever waits for us is told
            self._prepared.set_exception(error)
        else:
            self._loop.run_forever()
