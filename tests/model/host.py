"""A host in memory: processes with numbers that are given again, shims, attempts' directories, two clocks.

It knows what really happened, which is what the log is held against. Nothing here decides anything for outlive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eventstore.state import AgentState, Live
from eventstore.values import Exit, ExitedBySignal, ProcessRecord
from manager.recovery import ExitRecord, FailedExec, Observed, Presence

T0 = 1_700_000_000_000_000
Stage = Literal["requested", "made", "identified", "executed", "over"]
Key = tuple[str, int]
FOREIGN: Key = ("foreign", 0)


@dataclass(kw_only=True)
class Attempt:
    """What is really so about one attempt. `taken_by`: who made its directory, which is the fence."""

    taken_by: Literal["shim", "recovery"] | None = None
    stage: Stage = "requested"
    record: ProcessRecord | None = None
    failed_exec: FailedExec | None = None
    is_shim_alive: bool = False
    is_running: bool = False
    is_deaf: bool = False
    is_unproved: bool = False
    executions: int = 0
    executed_at: int | None = None
    end: Exit | None = None
    written: ExitRecord | None = None
    excuses: set[str] = field(default_factory=set)


class Host:
    """One machine. `wrong_signals` and `signals` are what outlive did to processes."""

    def __init__(self) -> None:
        self.wall = T0
        self.monotonic = 0.0
        self.jumps = 0
        self.boots = 1
        self.attempts: dict[Key, Attempt] = {}
        self.requests: list[Key] = []
        self.pids: dict[int, Key] = {}
        self.signals: list[tuple[Key, int]] = []
        self.wrong_signals: list[int] = []
        self._pid = 1000

    @property
    def boot(self) -> str:
        """Which boot this is."""
        return f"0f5b2a3c-1111-4222-8333-{self.boots:012d}"

    def attempt(self, key: Key) -> Attempt:
        """The attempt, which nothing may have been done for yet."""
        return self.attempts.setdefault(key, Attempt())

    def advance(self, index: int, *, fails: bool) -> None:
        """One step of a start that was asked for: directory, identity, exec."""
        key = self.requests[index % len(self.requests)]
        one = self.attempt(key)
        if one.stage == "requested":
            if one.taken_by is not None:  # the fence: this request came too late
                self.requests.remove(key)
                return
            one.taken_by, one.is_shim_alive, one.stage = "shim", True, "made"
        elif one.stage == "made":
            self._pid += 2
            one.record = ProcessRecord(
                pid=self._pid,
                start_ticks=7,
                boot_id=self.boot,
                pid_namespace=1,
                pidfd_inode=None,
                shim_pid=self._pid - 1,
                shim_start_ticks=7,
                shim_pidfd_inode=None,
                cgroup=None,
            )
            self.pids[self._pid] = key
            one.stage = "identified"
        elif fails:
            one.failed_exec = FailedExec(phase="exec", errno=2, message="No such file or directory")
            self.requests.remove(key)
            self._leave(one)
        else:
            one.stage, one.is_running, one.executed_at = "executed", True, self.wall
            one.executions += 1
            self.requests.remove(key)

    def finish(self, key: Key, how: Exit) -> None:
        """The main process is over. Its shim, if it lives, has yet to say so."""
        one = self.attempts[key]
        one.is_running, one.end, one.stage = False, how, "over"

    def report(self, key: Key) -> None:
        """The shim writes the exit, reaps and leaves."""
        one = self.attempts[key]
        assert one.end is not None
        one.written = ExitRecord(exit=one.end, ended_at=self.wall)
        self._leave(one)

    def kill_shim(self, key: Key) -> None:
        """A child that waits at its gate goes with it; a running program stays."""
        one = self.attempts[key]
        one.excuses.add("shim killed")
        if key in self.requests:
            self.requests.remove(key)
        self._leave(one)

    def _leave(self, one: Attempt) -> None:
        one.is_shim_alive = False
        if not one.is_running and one.stage != "requested":
            one.stage = "over"

    def reuse(self) -> None:
        """Numbers of processes that were reaped go to programs of somebody else."""
        for pid, key in list(self.pids.items()):
            if key != FOREIGN and not self.is_alive(key) and not self.attempts[key].is_shim_alive:
                self.pids[pid] = FOREIGN

    def reboot(self) -> None:
        """Everything is over and nobody saw how; what was written is there."""
        self.boots += 1
        self.requests.clear()
        self.pids.clear()
        for one in self.attempts.values():
            if one.is_running or one.is_shim_alive:
                one.excuses.add("reboot")
                one.is_running = one.is_shim_alive = False
                one.stage = "over"

    def is_alive(self, key: Key) -> bool:
        """Whether a process of the attempt exists that runs its program, or will unless its shim dies."""
        one = self.attempts.get(key)
        return one is not None and (one.is_running or (one.is_shim_alive and one.stage == "identified"))

    def signal(self, owner: Key, signum: int) -> None:
        """By a handle to whom `owner` is: never to whoever else has its number meanwhile."""
        if owner == FOREIGN:
            self.wrong_signals.append(signum)
        elif self.attempts[owner].is_running:
            self.signals.append((owner, signum))
            if signum == 9 or not self.attempts[owner].is_deaf:
                self.finish(owner, ExitedBySignal(signal=signum, core_dumped=False))

    def look(self, agent_id: str, believed: AgentState, *, is_recovery: bool, is_held: bool) -> Observed:
        """What `manager.observe` would find, with its claim of a directory that nobody has made.

        `is_held`: the kernel tells how it ended, where its shim is lost.
        """
        one = self.attempt((agent_id, believed.attempt))
        is_live = isinstance(believed.phase, Live)
        is_same_boot = believed.boot_id == self.boot
        if not is_live and is_same_boot and one.taken_by is None:
            one.taken_by = "recovery"
        is_claimed = not is_live and one.taken_by != "shim"
        exit_ = one.written
        is_gone = self._presence(agent_id, believed, one) == "gone"
        if (
            is_held
            and is_live
            and is_gone
            and exit_ is None
            and not one.is_shim_alive
            and one.end is not None
        ):
            exit_ = ExitRecord(exit=one.end, source="pidfd", is_tree_complete=False)
        return Observed(
            observed_at=self.wall,
            is_recovery=is_recovery,
            is_same_boot=is_same_boot,
            directory="claimed" if is_claimed else "present",
            is_shim_alive=is_same_boot and one.is_shim_alive,
            identity=one.record,
            is_identity_damaged=False,
            has_executed=True
            if one.executions
            else (False if self.is_alive(believed_key(agent_id, believed)) else None),
            failed_exec=one.failed_exec,
            exit=exit_,
            process=self._presence(agent_id, believed, one),
            evidence="as the host has it",
            executed_at=one.executed_at,
        )

    def _presence(self, agent_id: str, believed: AgentState, one: Attempt) -> Presence:
        if believed.boot_id != self.boot or one.record is None:
            return "gone"
        if one.is_unproved and one.record.pid in self.pids and (one.is_running or not one.is_shim_alive):
            return "unproved"
        return "same" if self.is_alive(believed_key(agent_id, believed)) else "gone"


def believed_key(agent_id: str, believed: AgentState) -> Key:
    """Which attempt a state is of."""
    return agent_id, believed.attempt
