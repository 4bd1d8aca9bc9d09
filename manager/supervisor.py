"""The coordinator's shell: starts, watches and stops attempts. It has no opinions: `decide` and `recovery` have them.

For one thread's running event loop; `manager.manager.Manager` is the door to it. Whatever it learns of an agent, from
the launcher, a pidfd, a timer or a new look, is sent as a command to `decide`, through `Turn`, which commits before
acting.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from eventstore.crashpoints import crash_point
from eventstore.state import AgentState, Live, Requested, State, Waiting
from manager import commands as do
from manager import launching, stopmarks
from manager.attachment import Attachment
from manager.deadlines import until_next_attempt, until_start_window_passes
from manager.enforcement import Enforcement
from manager.launchpad import Launchpad
from manager.ledger import Ledger
from manager.memory import explain_kill
from manager.observe import look, process_record_of
from manager.origin import Origin
from manager.process.features import features
from manager.process.kernel_log import KernelLog
from manager.recovery import Conclusion, conclude
from manager.statusfiles import StatusFiles
from manager.stopping import kill_leftovers, leftovers, signal_main
from manager.stops import Stops
from manager.turn import Turn

BRIEF_LOOK_SECONDS = 0.02  # a start or a sweep found half done: its shim is at work
POLL_SECONDS = 0.05  # where the kernel has no pidfds
UNPROVED_LOOK_SECONDS = 1.0
SHIM_GRACE_SECONDS = 0.25  # after the end of a main process, for its shim to write and leave


class Supervisor:
    """All agents of a home that have not ended, in this coordinator's hands."""

    def __init__(self, home: Path, ledger: Ledger, clock: Callable[[], int]) -> None:
        self._home = home
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.attached: dict[str, Attachment] = {}
        self._files = StatusFiles(home)
        self._kernel_log = KernelLog()
        self.ledger = ledger
        self.holds_attempts = True  # until somebody wants more than an end: see `release_attempts`
        self._marks = stopmarks.StopMarks(home)
        self.turn = Turn(
            ledger,
            on_settled=self._settled,
            on_dropped=self._start_dropped,
            on_unrecorded=lambda: self._marks.leave(ledger.unrecorded),
        )
        self.stops = Stops(ledger, self.turn, self.attached.get, clock)
        self.rules = Enforcement(ledger, self.turn, self.stops, self.attached.get, clock)
        self.launchpad = Launchpad(
            on_report=self._on_report, on_failed=self._on_launch_failed, on_lost=self._look_again
        )

    def close(self) -> None:
        """Let go of every handle; agents run on."""
        self._files.close()
        self._kernel_log.close()
        self.rules.close()
        self.launchpad.close()
        for agent_id in list(self.attached):
            self._detach(agent_id)

    # --- starting -----------------------------------------------------------------------------------------------

    def start(
        self, agent_id: str, command: do.Spawn, request: dict[str, Any], origin: Origin | None = None
    ) -> None:
        """Record the intent, then launch. Raises `InvalidRequest` when the agent's state does not allow it."""
        complete = launching.for_attempt(
            request, self._home, command.directory, agent_id=agent_id, name=command.name
        )
        self.turn.apply(agent_id, command, origin)
        self.turn.then(lambda: self._launch(agent_id, complete), start_of=agent_id)

    def start_again(self, agent_id: str) -> None:
        """Start the attempt that is waiting, with what the attempt before it was started with."""
        state = self.ledger.states.get(agent_id)
        if state is None or not isinstance(state.phase, Waiting) or self.turn.deposed is not None:
            return
        command = launching.next_attempt(agent_id, state)
        try:
            request = launching.again(self._home / state.directory)
        except launching.SpecLost as error:
            self.turn.apply(agent_id, command)
            self.turn.apply(agent_id, do.ReportFailedStart(phase="spec", errno=None, message=str(error)))
            return
        self.start(agent_id, command, request)

    def _launch(self, agent_id: str, request: dict[str, Any]) -> None:
        attachment = self._attach(agent_id)
        attachment.token = request["token"]
        self.launchpad.launch(agent_id, request, attachment)

    def _on_report(self, agent_id: str, record: dict[str, Any]) -> None:
        attachment, state = self.attached.get(agent_id), self.ledger.states.get(agent_id)
        if attachment is None or state is None or not isinstance(state.phase, Requested):
            return
        if record["record"] == "identity":
            attachment.process = process_record_of(record)
        elif record["record"] == "exec" and record["phase"] is None and attachment.process is not None:
            command = do.ConfirmStarted(process=attachment.process, executed_at=record["confirmed_at"])
            self.turn.apply(agent_id, command)
            if not attachment.hold_main(attachment.process):
                attachment.later("look", UNPROVED_LOOK_SECONDS, lambda: self._look_again(agent_id))
            self._watch(agent_id, attachment)
            seconds = state.spec.start_window_seconds
            attachment.later("window", seconds, lambda: self._pass_start_window(agent_id, attachment))
        elif (
            record["record"] in ("exec", "refused")
            and record["phase"] is not None
            and record["errno"] != errno.EEXIST  # its directory is not ours then
        ):
            self._on_launch_failed(agent_id, record["phase"], record["errno"], record["message"])
        elif record["record"] == "end":
            self._look_again(agent_id)

    def _on_launch_failed(self, agent_id: str, phase: str, errno: int | None, message: str) -> None:
        self.turn.apply(agent_id, do.ReportFailedStart(phase=phase, errno=errno, message=message))

    def _look_again(self, agent_id: str) -> None:
        try:
            self.reconcile(agent_id)
        except OSError:  # out of descriptors: the record waits on disk, and so do we
            self.look_later(agent_id)

    def look_later(self, agent_id: str) -> None:
        """Look at an agent again in a while: what it was looked at by could not be used just now."""
        self._attach(agent_id).later("look", UNPROVED_LOOK_SECONDS, lambda: self._look_again(agent_id))

    def _start_dropped(self, agent_id: str) -> None:
        if agent_id in self.ledger.states:  # it waits for its next attempt, or the log has this start
            self.look_later(agent_id)

    def _pass_start_window(self, agent_id: str, attachment: Attachment) -> None:
        state = self.ledger.states.get(agent_id)
        # A program that daemonises itself has ended its first process by then; its tree is what runs.
        is_tree = state is not None and state.spec.until == "tree" and attachment.shim() is not None
        if is_tree or not attachment.has_main_ended():
            self.turn.apply(agent_id, do.PassStartWindow())

    # --- watching -----------------------------------------------------------------------------------------------

    def _attach(self, agent_id: str) -> Attachment:
        path = str(self._home / self.ledger.states[agent_id].directory)
        attachment = self.attached.get(agent_id)
        if attachment is None or attachment.path != path:  # it holds the attempt before
            self._detach(agent_id)
            attachment = self.attached[agent_id] = Attachment(self._loop, path)
        return attachment

    def _detach(self, agent_id: str) -> None:
        attachment = self.attached.pop(agent_id, None)
        if attachment is not None:
            attachment.close()

    def _settled(self, agent_id: str, state: AgentState) -> None:
        if not isinstance(state.phase, Requested):
            self._marks.settle(agent_id)
            self._files.write(agent_id, state)
        if isinstance(state.phase, Waiting):
            self._detach(agent_id)
            self.arm_backoff(agent_id, state)
        elif state.is_final:
            self._detach(agent_id)
            if not self.ledger.has_staged:
                self.ledger.forget(agent_id)

    def arm_backoff(self, agent_id: str, state: AgentState) -> None:
        """Start the next attempt when it is due, or at once if that has passed; none while attempts are held."""
        if self.holds_attempts:
            return
        seconds = until_next_attempt(state, self._clock())
        self._attach(agent_id).later("backoff", seconds, lambda: self.start_again(agent_id))

    def release_attempts(self) -> None:
        """From now on start attempts when they are due, and enforce rules: a command that ends agents does neither."""
        if self.holds_attempts:
            self.holds_attempts = False
            self.rules.release()
            for agent_id, state in self.ledger.states.items():
                if isinstance(state.phase, Waiting):
                    self.arm_backoff(agent_id, state)

    def _watch(self, agent_id: str, attachment: Attachment) -> None:
        is_watched = attachment.watch(
            shim_ended=lambda: self._look_again(agent_id),
            main_ended=lambda: attachment.later(
                "look", SHIM_GRACE_SECONDS, lambda: self._look_again(agent_id)
            ),
        )
        if not is_watched or not features().pidfd:
            attachment.later("look", POLL_SECONDS, lambda: self._look_again(agent_id))
        self.rules.watch(agent_id)

    def reconcile(
        self, agent_id: str, *, is_recovery: bool = False, unwatched: float = 0.0, announce: bool = True
    ) -> Conclusion | None:
        """Look at an agent's attempt and send what follows through the usual door; what was concluded, if anything.

        `unwatched`: seconds for which nobody looked. `announce`: record a re-attachment through its shim; a command
        that acts for a moment does not. Raises OSError when we lack descriptors to look.
        """
        state = self.ledger.states.get(agent_id)
        if state is None or state.is_final or self.turn.deposed is not None:
            return None
        if isinstance(state.phase, Waiting):
            marks = stopmarks.read(str(self._home / state.directory))
            conclusion = conclude(state, None, unwatched_seconds=unwatched, recalled=marks.signals)
            self._marks.adopt(agent_id, str(self._home / state.directory), marks.names)
            if not [command for command in conclusion.commands if self.turn.apply(agent_id, command)]:
                self.arm_backoff(agent_id, state)
            return conclusion
        crash_point("coordinator.before_look")
        attachment = self._attach(agent_id)
        seen = look(self._home, state, now=self._clock(), is_recovery=is_recovery, token=attachment.token)
        attachment.adopt(seen)
        observed = (
            attachment.with_kernel_exit(seen.observed) if isinstance(state.phase, Live) else seen.observed
        )
        if observed is None:  # the kernel's answer is on its way
            attachment.later("look", POLL_SECONDS, lambda: self._look_again(agent_id))
            return None
        observed = explain_kill(observed, state, self._kernel_log)
        conclusion = conclude(state, observed, unwatched_seconds=unwatched)
        is_unswept = observed.is_same_boot and not observed.is_shim_alive
        for command in conclusion.commands:
            if isinstance(command, do.Reattach):
                is_news = attachment.via != command.via and (announce or command.via == "process")
                attachment.via = command.via
                if not is_news:
                    continue
            if isinstance(command, do.ObserveExit) and is_unswept and not command.is_tree_complete:
                self.turn.apply(agent_id, self._with_leftovers(attachment, command))
            else:
                self.turn.apply(agent_id, command)
        self._marks.adopt(agent_id, attachment.path, seen.marks)
        if conclusion.counts_as != "pending" and not self.ledger.has_staged:  # the log has all that they say
            self._marks.settle(agent_id)
        if conclusion.watch:
            self._go_on(agent_id, attachment, conclusion)
        return conclusion

    def _with_leftovers(self, attachment: Attachment, command: do.ObserveExit) -> do.ObserveExit:
        """With what an attempt left behind that its lost shim did not sweep; it is killed once that is recorded."""
        left = leftovers(attachment)
        if left:
            self.turn.then(lambda: kill_leftovers(attachment))
        return replace(command, leftovers=tuple(sorted({*(command.leftovers or ()), *left})))

    def _go_on(self, agent_id: str, attachment: Attachment, conclusion: Conclusion) -> None:
        state = self.ledger.states[agent_id]
        if conclusion.counts_as == "pending":
            is_brief = isinstance(state.phase, Requested) or attachment.shim() is not None
            seconds = BRIEF_LOOK_SECONDS if is_brief else UNPROVED_LOOK_SECONDS
            attachment.later("look", seconds, lambda: self._look_again(agent_id))
            return
        self._watch(agent_id, attachment)
        if not isinstance(state.phase, Live):
            return
        if state.phase.stop is not None:  # its stage may have been staged a moment ago
            self.turn.then(lambda: self.stops.pursue(agent_id))
        elif state.state is State.SPAWNING:
            left = until_start_window_passes(state, state.phase.started_at, self._clock())
            attachment.later("window", left, lambda: self._pass_start_window(agent_id, attachment))

    # --- signalling ---------------------------------------------------------------------------------------------

    def send_signal(self, agent_id: str, command: do.SendSignal, origin: Origin) -> None:
        """Record it, then send it to the main process.

        Raises `InvalidRequest` when none is known to run, `StoreUnavailable` when it cannot be recorded.
        """
        self.turn.record(agent_id, command, origin)
        self.turn.run(partial(signal_main, self._attach(agent_id), command.signal))
