"""Samples of what living agents use: a thread beside a coordinator's work that looks, and writes a row an agent.

Nobody waits for it and nothing fails with it: what cannot be seen or written just now is left out. It starts a second
after its coordinator, when most commands are over, and takes 0.1 % of one core at the most: the more there is to look
at, the longer it pauses. See `docs/samples.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from eventstore.errors import OutliveError
from eventstore.samples import Sample
from eventstore.state import AgentState, Live
from eventstore.store import EventStore, now_microseconds
from manager import vitals
from manager.keeping import Keeper
from manager.process.procfs import boot_id
from manager.thinning import Plan, plan_of

if TYPE_CHECKING:
    from manager.supervisor import Supervisor

FIRST_SECONDS = 1.0
YOUNG_SECONDS = 0.5  # an attempt of this age has its first sample at the next look, a second later at most
LOOK_SECONDS = 1.0
MOST_SHARE = 0.001
NO_THREAD_RETRY_SECONDS = 10.0


class Sampling:
    """Takes samples from `begin` to `close`. Raises `InvalidRequest` for a plan in the environment that is none."""

    def __init__(
        self, store: EventStore, plan: Plan | None = None, clock: Callable[[], int] = now_microseconds
    ) -> None:
        self._plan = plan or plan_of(os.environ)
        self._keeper = Keeper(store, self._plan)
        self._clock = clock
        self._sampler = vitals.Sampler()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._due = 0.0
        self._sampled: dict[str, int] = {}  # the attempt of an agent that was sampled last

    def begin(self, loop: asyncio.AbstractEventLoop, supervisor: Supervisor) -> None:
        """Take samples of what it supervises, soon, and as long as it may act."""
        if self._plan.interval_seconds:
            loop.call_later(FIRST_SECONDS, self._start, loop, supervisor)

    def close(self) -> None:
        """End it. To be called once the loop has stopped."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self, loop: asyncio.AbstractEventLoop, supervisor: Supervisor) -> None:
        thread = threading.Thread(target=self._run, args=(supervisor,), name="outlive-sampling", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError:  # no thread is to be had; others need it more
            loop.call_later(NO_THREAD_RETRY_SECONDS, self._start, loop, supervisor)

    def _run(self, supervisor: Supervisor) -> None:
        pause = 0.0
        while not self._stop.wait(pause) and supervisor.turn.deposed is None:
            begun = time.thread_time()
            with contextlib.suppress(OutliveError, OSError, MemoryError):
                self.sweep(supervisor.ledger.states.copy())  # one step, so that no lock is needed
            spent = time.thread_time() - begun
            pause = max(min(LOOK_SECONDS, self._plan.interval_seconds), spent / MOST_SHARE)

    def sweep(self, states: Mapping[str, AgentState]) -> None:
        """Look at those whose sample is due, and write. Raises `OutliveError` when it cannot; it is not tried again."""
        now = time.monotonic()
        is_full = now >= self._due
        targets = self._targets(states, is_full=is_full)
        if is_full:
            self._due = now + self._plan.interval_seconds
            self._sampled = {}
            self._keeper.forget_all_but(states)
        self._sampled.update(targets.keys())
        at = self._clock()  # before the look: who was seen was alive then, and later
        seen = self._sampler.sample(list(targets.values()))
        rows = [
            Sample(agent, attempt, at, one.cpu_percent, one.memory_bytes, one.threads, one.processes)
            for (agent, attempt), one in zip(targets, seen, strict=True)
            if one.is_alive and one.memory_bytes  # one that ends gives its memory back before it is a zombie
        ]
        if rows or (is_full and self._keeper.is_tidying_due()):
            self._keeper.keep(rows, at)

    def _targets(
        self, states: Mapping[str, AgentState], *, is_full: bool
    ) -> dict[tuple[str, int], vitals.Target]:
        here, born_before = boot_id(), self._clock() - round(YOUNG_SECONDS * 1e6)
        return {
            (agent, state.attempt): vitals.Target(
                phase.process.pid, phase.process.start_ticks, phase.process.shim_pid
            )
            for agent, state in states.items()
            if isinstance(phase := state.phase, Live) and phase.process.boot_id == here
            if is_full or (self._sampled.get(agent) != state.attempt and phase.started_at <= born_before)
        }
