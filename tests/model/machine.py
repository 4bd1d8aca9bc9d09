"""Everything that can happen to two agents, in any order: hypothesis chooses, `promises` judge after each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventstore import events as ev
from eventstore.state import Live, Waiting
from eventstore.values import ExitedBySignal, ExitedWithCode, RestartRule
from manager import commands as do
from manager.recovery import ExitRecord
from tests.model import promises
from tests.model.host import Attempt, Host, Key
from tests.model.shell import Coordinator, politely
from tests.model.store import FakeStore, Row
from tests.support.histories import SPEC

AGENTS = ("a", "b")
small = st.integers(0, 5)
OUTCOMES = st.sampled_from(["ok", "ok", "ok", "refused", "unclear"])
agents = st.sampled_from(AGENTS)
RULES = [
    RestartRule(mode=mode, max_restarts=most, backoff_seconds=1.0, backoff_limit_seconds=3.0)  # type: ignore[arg-type]
    for mode, most in (("never", None), ("on-failure", 2), ("always", None))
]
ENDS = [
    ExitedWithCode(code=0),
    ExitedWithCode(code=3),
    ExitedBySignal(signal=11, core_dumped=True),
    ExitedBySignal(signal=9, core_dumped=False),
]


def _is_free(self: World) -> bool:
    return self.now is not None and not self.now.ready and not self.now.is_deposed


class World(RuleBasedStateMachine):
    """One host, one log, the coordinator of now and perhaps a stopped one of before."""

    def __init__(self) -> None:
        super().__init__()
        self.host = Host()
        self.store = FakeStore(self._on_row)
        self.hurried: set[Key] = set()
        self.before: Coordinator | None = None
        self.now: Coordinator | None = Coordinator(self.host, self.store)

    def _on_row(self, row: Row) -> None:
        promises.recorded_end(self.host, row)

    @property
    def coordinator(self) -> Coordinator:
        """The one of now, where a precondition says that there is one."""
        assert self.now is not None
        return self.now

    def _some(self, index: int, **wanted: bool) -> tuple[Key, Attempt] | None:
        found = [
            (key, one)
            for key, one in self.host.attempts.items()
            if all(getattr(one, name) is value for name, value in wanted.items())
        ]
        return found[index % len(found)] if found else None

    # --- orders

    @precondition(_is_free)
    @rule(agent=agents, how=st.sampled_from(RULES), is_again=st.integers(0, 2), outcome=OUTCOMES)
    def start(self, agent: str, how: RestartRule, is_again: int = 1, outcome: Any = "ok") -> None:
        """Somebody wants it to run."""
        known = self.store.state(agent) is not None or agent in self.coordinator.ledger.states
        if not known:
            self.coordinator.start(agent, replace(SPEC, restart=how))
        elif is_again == 0:
            state = self.coordinator.ledger.states.get(agent)
            if state is not None and isinstance(state.phase, Waiting):
                self.hurried.add((agent, state.phase.next_attempt))
            politely(lambda: self.coordinator.restart(agent, outcome))

    @precondition(_is_free)
    @rule(agent=agents, cause=st.sampled_from(["limit", "health"]))
    def stop_by_rule(self, agent: str, cause: Any) -> None:
        """A limit is exceeded, or a check fails too often, of one that runs and is not being stopped."""
        state = self.coordinator.ledger.states.get(agent)
        if state is not None and isinstance(state.phase, Live) and state.phase.stop is None:
            politely(
                lambda: self.coordinator.stop(agent, do.RequestStop(cause=cause, reason="its limit is 7"))
            )

    @precondition(_is_free)
    @rule(agent=agents, is_forced=st.booleans(), is_quiet=st.booleans())
    def stop(self, agent: str, is_forced: bool, is_quiet: bool) -> None:
        """Somebody wants it to end; in a quiet hour, a turn of its own follows."""
        politely(lambda: self.coordinator.stop(agent, do.RequestStop(forced=is_forced)))
        if is_quiet:
            self.coordinator.turn()

    @precondition(_is_free)
    @rule(agent=agents, signum=st.sampled_from([15, 9]), outcome=OUTCOMES)
    def signal(self, agent: str, signum: int, outcome: Any) -> None:
        """Somebody wants it to be signalled."""
        politely(lambda: self.coordinator.signal(agent, signum, outcome))

    # --- the coordinator's turns

    @precondition(_is_free)
    @rule(outcome=OUTCOMES)
    def commit(self, outcome: Any) -> None:
        """The log takes what is staged, or does not, or does and cannot say so."""
        self.coordinator.commit(outcome)

    @precondition(lambda self: self.now is not None and self.now.ready)
    @rule()
    def effect(self) -> None:
        """One thing that was waiting for the commit."""
        self.coordinator.ready.pop(0)()

    @precondition(_is_free)
    @rule()
    def whole_turn(self) -> None:
        """What happens nearly always: a commit, and all that follows it."""
        self.coordinator.turn()

    @precondition(_is_free)
    @rule(agent=agents)
    def hear(self, agent: str) -> None:
        """The shim of a start reports."""
        self.coordinator.hear(agent)

    @precondition(_is_free)
    @rule(agent=agents)
    def notice(self, agent: str) -> None:
        """An end is noticed, or nothing is."""
        self.coordinator.notice(agent)

    @precondition(_is_free)
    @rule(is_late=st.booleans())
    def lose_launcher(self, is_late: bool) -> None:
        """The launcher is killed."""
        self.coordinator.lose_launcher(is_late=is_late)

    @rule(seconds=st.sampled_from([0.05, 0.2, 1.0, 3.0, 11.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.host.monotonic += seconds
        self.host.wall += round(seconds * 1e6)
        if _is_free(self):
            self.coordinator.tick()

    # --- faults

    @precondition(lambda self: self.now is not None)
    @rule(is_followed=st.sampled_from([True, True, True, False]))
    def crash(self, is_followed: bool) -> None:
        """The coordinator is killed, whatever it was about to do, and most often another one recovers."""
        self.now = None
        if is_followed:
            self.recover()

    @rule()
    def recover(self) -> None:
        """Another one takes the home where there is none that acts."""
        if self.now is None or self.now.is_deposed:
            self.now = Coordinator(self.host, self.store)
            self.now.recover()

    @precondition(lambda self: self.now is not None)
    @rule()
    def replace_stopped(self) -> None:
        """The coordinator is stopped by SIGSTOP, and another takes over."""
        self.before = self.now
        self.now = Coordinator(self.host, self.store)
        self.now.recover()

    @precondition(lambda self: self.before is not None)
    @rule()
    def resume_stopped(self) -> None:
        """The stopped one goes on where it was."""
        assert self.before is not None
        while self.before.ready:
            self.before.ready.pop(0)()
        self.before.turn()
        self.before = None

    @rule(
        kind=st.sampled_from(["shim", "shim", "proof", "proof", "record", "numbers", "clock", "reboot"]),
        index=small,
    )
    def misfortune(self, kind: str, index: int) -> None:
        """Whatever else can go wrong."""
        match kind:
            case "shim":
                if found := self._some(index, is_shim_alive=True):
                    self.host.kill_shim(found[0])
            case "proof":  # what an identity is proved by can be read no more, or again
                if found := self._some(index, is_running=True):
                    found[1].is_unproved = not found[1].is_unproved
            case "record":
                found = self._some(index, is_running=False, is_shim_alive=False)
                if found and found[1].written is not None:
                    found[1].written = ExitRecord(exit=None, is_damaged=True)
                    found[1].excuses.add("exit record damaged")
            case "numbers":
                self.host.reuse()
            case "clock":
                self.host.jumps += 1
                self.host.wall += (-30, -1, 1, 30)[index % 4] * 3_600_000_000
            case _:
                self.now = self.before = None
                self.host.reboot()

    # --- agents and shims

    @precondition(lambda self: self.host.requests)
    @rule(index=small, fails=small)
    def advance_start(self, index: int, fails: int) -> None:
        """A start comes one step further."""
        self.host.advance(index, fails=fails == 0)

    @rule(index=small, how=st.sampled_from(ENDS))
    def end(self, index: int, how: Any) -> None:
        """An agent ends, by itself or by a signal of somebody else."""
        found = self._some(index, is_running=True)
        if found is not None:
            self.host.finish(found[0], how)

    @rule(index=small)
    def deafen(self, index: int) -> None:
        """An agent ignores SIGTERM from now on."""
        found = self._some(index, is_running=True)
        if found is not None:
            found[1].is_deaf = True

    @rule(index=small)
    def write_exit(self, index: int) -> None:
        """A shim writes how its agent ended."""
        found = self._some(index, is_running=False, is_shim_alive=True, stage="over")  # type: ignore[arg-type]
        if found is not None:
            self.host.report(found[0])

    @initialize(hows=st.lists(st.sampled_from(RULES), min_size=1, max_size=2))
    def running_agents(self, hows: list[RestartRule]) -> None:
        """Some of the agents run from the beginning."""
        for agent, how in zip(AGENTS, hows, strict=False):
            self.start(agent, how)
            self.coordinator.turn()
            for _ in range(3):
                self.host.advance(0, fails=False)
            self.coordinator.hear(agent)
            self.coordinator.turn()

    # --- promises

    @invariant()
    def promises_hold(self) -> None:
        """After every step."""
        promises.host_holds(self.host, self.store)
        for agent in AGENTS:
            promises.log_holds(self.store, agent)
            if not self.host.jumps:
                promises.waited(self.store, agent, self.hurried)
            if self.now is not None and self.now.is_settled and agent in self.now.ledger.states:
                believed = self.now.ledger.states[agent]
                promises.require(believed == self.store.state(agent), "it believes what is durable", agent)

    def teardown(self) -> None:
        """Nothing more goes wrong: a recovery, then whatever is under way comes to its end."""
        if self.before is not None:
            self.resume_stopped()
        for one in self.host.attempts.values():
            one.is_unproved = False
        self.now = None
        self.recover()
        for _ in range(60):
            self.coordinator.turn()
            self._carry_out()
            self.wait(11.0)
            if not self._is_under_way():
                break
        self.promises_hold()
        for agent in AGENTS:
            promises.at_rest(self.host, self.store, agent)

    def _carry_out(self) -> None:
        while self.host.requests:
            self.host.advance(0, fails=False)
        for key, one in self.host.attempts.items():
            if one.is_shim_alive and one.stage == "over":
                self.host.report(key)
        for agent in AGENTS:
            self.coordinator.hear(agent)
            self.coordinator.notice(agent)
            timed_out = [row.event for row in self.store.of(agent)][-1:]
            if timed_out and isinstance(timed_out[0], ev.StopTimedOut):
                self.stop(agent, is_forced=True, is_quiet=True)

    def _is_under_way(self) -> bool:
        states = [self.store.state(agent) for agent in AGENTS]
        resting = all(state is None or state.is_final or state.state == "RUNNING" for state in states)
        return not resting or not self.coordinator.is_settled
