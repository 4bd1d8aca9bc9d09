"""A coordinator with a fake host: the real ledger, decisions and deadlines; only what touches the system is ours.

It does in single steps what `manager.turn` and `manager.supervisor` do, so that a crash can come between any two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from eventstore.errors import InvalidRequest, OutliveError, StoreUnavailable
from eventstore.state import AgentState, Live, Requested, State, Waiting
from eventstore.values import RecordedSpec
from manager import commands as do
from manager import recovery
from manager.deadlines import until_next_attempt, until_next_stage, until_start_window_passes
from manager.ledger import Ledger
from manager.recovery import Conclusion
from tests.model.host import Host, Key
from tests.model.store import FakeStore, Outcome

LOOK_SECONDS = 1.0
Step = Callable[[], None]


class Coordinator:
    """One life of a coordinator. `ready` is what follows a commit and has not been done yet."""

    def __init__(self, host: Host, store: FakeStore) -> None:
        store.epoch += 1
        self._host, self._store = host, store
        clock = lambda: host.wall  # noqa: E731
        self.ledger = Ledger(store, epoch=store.epoch, clock=clock, replayed=FakeStore.replay)  # type: ignore[arg-type]
        self.ready: list[Step] = []
        self.timers: dict[tuple[str, str], tuple[float, Step]] = {}
        self.handles: dict[str, Key] = {}
        self.is_deposed = False
        self.is_down = False
        self._effects: list[tuple[str | None, Step]] = []
        self._moved: dict[str, AgentState] = {}
        self._via: dict[str, str] = {}
        self._stage: dict[str, int] = {}
        self._launched: set[Key] = set()
        for agent_id in {row.agent_id for row in store.rows}:
            self._load(agent_id)

    def _load(self, agent_id: str) -> None:
        state = self._store.state(agent_id)
        if state is not None:
            self.ledger.believe(agent_id, state, "", self._store.of(agent_id)[-1].event_id)

    def recover(self) -> None:
        """Look at all that has not ended, once."""
        for agent_id in sorted(self.ledger.states):
            self.look(agent_id, is_recovery=True)

    # --- orders

    def start(self, agent_id: str, spec: RecordedSpec, attempt: int = 1) -> None:
        """Record the intent, then ask the launcher."""
        command = do.Spawn(
            name=agent_id,
            spec=spec,
            spec_digest="ab" * 32,
            directory=f"agents/{agent_id}/{attempt}",
            boot_id=self._host.boot,
        )
        self._apply(agent_id, command)
        self._then(lambda: self._launch((agent_id, attempt)), start_of=agent_id)

    def restart(self, agent_id: str, outcome: Outcome) -> None:
        """Another attempt, after a stop where one runs. Raises `InvalidRequest` where that is not possible."""
        if agent_id not in self.ledger.states:
            self._load(agent_id)
        state = self.ledger.states[agent_id]
        if state.is_final or isinstance(state.phase, Waiting):
            self._record(agent_id, do.Restart(), outcome)
        elif self._record(agent_id, do.RequestStop(cause="restart"), outcome):
            self._then(lambda: self._pursue(agent_id))

    def stop(self, agent_id: str, command: do.RequestStop) -> None:
        """Record it with its first stage, then signal."""
        if agent_id in self.ledger.states and self._apply(agent_id, command):
            self._then(lambda: self._pursue(agent_id))

    def signal(self, agent_id: str, signum: int, outcome: Outcome) -> None:
        """Record it, then send it."""
        if agent_id in self.ledger.states and self._record(agent_id, do.SendSignal(signal=signum), outcome):
            self._send(agent_id, signum)

    def _record(self, agent_id: str, command: do.Command, outcome: Outcome) -> bool:
        """Whether anything followed, and is durable: else it is taken back."""
        self.turn(outcome)
        was_down = self.is_down
        if was_down:
            return False
        with self.ledger.or_nothing(agent_id):
            is_news = self._apply(agent_id, command)
            self.turn(outcome)
        return is_news and not self.is_down and not self.is_deposed

    # --- turns

    def turn(self, outcome: Outcome = "ok") -> None:
        """A commit, and all that follows it."""
        self.commit(outcome)
        while self.ready:
            self.ready.pop(0)()

    def commit(self, outcome: Outcome) -> None:
        """Make durable what is staged. What follows waits in `ready`."""
        self._store.next_outcome = outcome
        effects, self._effects = self._effects, []
        moved, self._moved = self._moved, {}
        try:
            dropped = self.ledger.commit()
        except StoreUnavailable:
            self.is_down = True
            dropped = self.ledger.take_back()
            effects = [effect for effect in effects if effect[0] is None]
            self._moved = {agent: self.ledger.states[agent] for agent in moved if agent not in dropped}
        except OutliveError:
            self.is_deposed = True
            return
        else:
            self.is_down = False
            moved |= {agent: self.ledger.states[agent] for agent in dropped}
        self.ready = [run for start_of, run in effects if start_of not in dropped]
        if not self.is_down:
            self.ready.append(lambda: self._settle(moved))
        self.ready += [partial(self._look_later, agent) for agent in dropped if agent in self.ledger.states]

    def tick(self) -> None:
        """Whatever waits for a time that has come."""
        for name, (due, run) in list(self.timers.items()):
            if due <= self._host.monotonic and name in self.timers and not self.is_deposed:
                del self.timers[name]
                run()

    @property
    def is_settled(self) -> bool:
        """Whether all that it believes should be in the log."""
        return not (self.ready or self.ledger.has_staged or self.is_down or self.is_deposed or self._moved)

    def _apply(self, agent_id: str, command: do.Command, not_before: int = 0) -> bool:
        if self.is_deposed:
            return False
        events = self.ledger.stage(agent_id, command, not_before=not_before)
        if events:
            self._moved[agent_id] = self.ledger.states[agent_id]
        return bool(events)

    def _then(self, run: Step, *, start_of: str | None = None) -> None:
        if not self.is_deposed:
            self._effects.append((start_of, run))

    def _later(self, agent_id: str, kind: str, seconds: float, run: Step) -> None:
        self.timers[agent_id, kind] = (self._host.monotonic + seconds, run)

    def _settle(self, moved: dict[str, AgentState]) -> None:
        for agent_id, state in moved.items():
            if isinstance(state.phase, Waiting):
                self._detach(agent_id)
                self._arm_backoff(agent_id, state)
            elif state.is_final:
                self._detach(agent_id)
                if not self.ledger.has_staged:
                    self.ledger.forget(agent_id)

    def _detach(self, agent_id: str) -> None:
        self.timers = {name: timer for name, timer in self.timers.items() if name[0] != agent_id}
        for kept in (self.handles, self._via, self._stage):
            kept.pop(agent_id, None)

    def _arm_backoff(self, agent_id: str, state: AgentState) -> None:
        seconds = until_next_attempt(state, self._host.wall)
        self._later(agent_id, "backoff", seconds, lambda: self._start_again(agent_id))

    def _start_again(self, agent_id: str) -> None:
        state = self.ledger.states.get(agent_id)
        if state is not None and isinstance(state.phase, Waiting):
            self.start(agent_id, state.spec, state.phase.next_attempt)

    def _look_later(self, agent_id: str) -> None:
        self._later(agent_id, "look", LOOK_SECONDS, lambda: self.look(agent_id))

    # --- the system

    def _launch(self, key: Key) -> None:
        self._launched.add(key)
        self._host.requests.append(key)

    def lose_launcher(self, *, is_late: bool) -> None:
        """It is gone without an answer. A request that it had read may still be carried out (`is_late`)."""
        for agent_id, attempt in sorted(self._launched):
            state = self.ledger.states.get(agent_id)
            if state is None or state.attempt != attempt or not isinstance(state.phase, Requested):
                continue
            key = (agent_id, attempt)
            if not is_late and key in self._host.requests and self._host.attempt(key).stage == "requested":
                self._host.requests.remove(key)
            self.look(agent_id)

    def hear(self, agent_id: str) -> None:
        """What the shim of a start has to say to whoever asked for it."""
        state = self.ledger.states.get(agent_id)
        if state is None or not isinstance(state.phase, Requested):
            return
        key = (agent_id, state.attempt)
        one = self._host.attempt(key)
        if key not in self._launched or one.taken_by != "shim":
            return
        if one.failed_exec is not None:
            failed = one.failed_exec
            command = do.ReportFailedStart(phase=failed.phase, errno=failed.errno, message=failed.message)
            self._apply(agent_id, command)
        elif one.executions and one.record is not None:
            self._apply(agent_id, do.ConfirmStarted(process=one.record, executed_at=one.executed_at))
            if one.is_running:
                self.handles[agent_id] = key
            seconds = state.spec.start_window_seconds
            self._later(agent_id, "window", seconds, lambda: self._pass_window(agent_id))
        elif not one.is_shim_alive:
            self.look(agent_id)

    def notice(self, agent_id: str) -> None:
        """A pidfd of an agent that is watched is readable."""
        state = self.ledger.states.get(agent_id)
        if state is not None and isinstance(state.phase, Live):
            self.look(agent_id)

    def look(self, agent_id: str, *, is_recovery: bool = False) -> None:
        """Look at an attempt and send what follows through the usual door."""
        state = self.ledger.states.get(agent_id)
        if state is None or state.is_final or self.is_deposed:
            return
        if isinstance(state.phase, Waiting):
            self._arm_backoff(agent_id, state)
            return
        is_held = self.handles.get(agent_id) == (agent_id, state.attempt)
        observed = self._host.look(agent_id, state, is_recovery=is_recovery, is_held=is_held)
        conclusion = recovery.conclude(state, observed, unwatched_seconds=1.0)
        for command in conclusion.commands:
            if isinstance(command, do.Reattach):
                live = self.ledger.states[agent_id].phase
                assert isinstance(live, Live), "only what has a process is attached to"
                self.handles[agent_id] = self._host.pids.get(live.process.pid, (agent_id, state.attempt))
                if self._via.get(agent_id) == command.via:
                    continue
                self._via[agent_id] = command.via
            self._apply(agent_id, command)
        if conclusion.watch:
            self._watch(agent_id, conclusion)

    def _watch(self, agent_id: str, conclusion: Conclusion) -> None:
        state = self.ledger.states[agent_id]
        if conclusion.counts_as == "pending":
            self._look_later(agent_id)
        elif not isinstance(state.phase, Live):
            return
        elif state.phase.stop is not None:
            self._pursue(agent_id)
        elif state.state is State.SPAWNING:
            left = until_start_window_passes(state, state.phase.started_at, self._host.wall)
            self._later(agent_id, "window", left, lambda: self._pass_window(agent_id))

    def _pass_window(self, agent_id: str) -> None:
        state = self.ledger.states.get(agent_id)
        if state is not None and self._host.is_alive((agent_id, state.attempt)):
            self._apply(agent_id, do.PassStartWindow())

    def _send(self, agent_id: str, signum: int) -> None:
        if agent_id in self.handles:
            self._host.signal(self.handles[agent_id], signum)

    def _pursue(self, agent_id: str) -> None:
        state = self.ledger.states.get(agent_id)
        if state is None or not isinstance(state.phase, Live) or state.phase.stop is None:
            return
        stop = state.phase.stop
        if stop.stage in (1, 2, 3):
            self._send(agent_id, 9 if stop.stage == 3 else 15)
        if stop.stage < 4 and self._stage.get(agent_id) != stop.stage:
            deadline = stop.deadline_at or 0
            left = until_next_stage(stop, self._host.wall)
            self._later(agent_id, "stage", left, lambda: self._advance(agent_id, deadline))
        self._stage[agent_id] = stop.stage

    def _advance(self, agent_id: str, deadline: int) -> None:
        if agent_id in self.ledger.states and self._apply(agent_id, do.AdvanceStop(), not_before=deadline):
            self._then(lambda: self._pursue(agent_id))


def politely(order: Step) -> None:
    """An order of somebody who may be refused."""
    try:
        order()
    except InvalidRequest:
        return
