"""Managers with one bug each, really run: a coordinator is given the option `--bug=NAME`.

A bug in a launcher or a shim is put into the program that a launcher is started with.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import manager.attachment
import manager.decide
import manager.judge
import manager.observe
import manager.supervisor
import projections.agents
from eventstore.events import AgentCompleted
from eventstore.values import ExitedWithCode
from manager.coordinator import Coordinator
from manager.process import launch
from manager.process.signalling import ProvenProcess, send_signal
from manager.restart import NextAttempt
from manager.spec import AgentSpec
from manager.stopping import signal_main
from manager.supervisor import Supervisor
from manager.turn import Turn

STARTS_SECONDS = 2.0  # enough for all agents to tell that they run, on a busy machine
LATE_SECONDS = 0.6  # enough for an agent to tell that it was signalled, or that it runs, on a busy machine
STARTED_TOGETHER = 6  # agents, in the run that shows the bugs


class Bug(NamedTuple):
    """A bug, and a promise that it breaks; None where only images of a disk show it.

    `is_of_recovery`: only a second coordinator shows it.
    """

    promise: str | None
    plant: Callable[[], None]
    is_of_recovery: bool = False


BUGS: dict[str, Bug] = {}


def bug(
    promise: str | None, *, is_of_recovery: bool = False
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Enter a function that puts a bug into this process."""

    def enter(plant: Callable[[], None]) -> Callable[[], None]:
        BUGS[plant.__name__] = Bug(promise, plant, is_of_recovery)
        return plant

    return enter


def replace_in(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` gives for the original into its place."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


def in_launchers(text: str) -> None:
    """Put a text into the program of launchers and their shims."""
    launch._PROGRAM = launch._PROGRAM.replace("main({descriptor})", text + "\nmain({descriptor})")


# --- signals ----------------------------------------------------------------------------------------------------


@bug("right target")
def signals_go_by_number() -> None:
    """kill(2) where a pidfd was meant."""
    import os

    replace_in(ProvenProcess, "_send", lambda _: lambda process, signum: os.kill(process.pid, signum))


@bug("signal after event")
def signals_go_out_before_their_commit() -> None:
    """An effect that does not wait for its turn."""

    def make(original: Any) -> Any:
        def then(turn: Turn, run: Callable[[], None], *, start_of: str | None = None) -> None:
            if start_of:
                original(turn, run, start_of=start_of)
                return
            run()
            time.sleep(LATE_SECONDS)
            turn.commit_soon()

        return then

    replace_in(Turn, "then", make)


@bug("signal after event")
def signals_are_not_recorded() -> None:
    """A signal that is sent and nothing else."""

    def send(supervisor: Supervisor, agent_id: str, command: Any, _: Any) -> None:
        attachment = supervisor._attach(agent_id)
        supervisor.turn.then(lambda: signal_main(attachment, command.signal))

    replace_in(Supervisor, "send_signal", lambda _: send)


@bug("signal after event")
def agents_are_ended_with_their_manager() -> None:
    """What most supervisors do when they leave."""

    def make(original: Any) -> Any:
        def close(supervisor: Supervisor) -> None:
            for attachment in supervisor.attached.values():
                if attachment.main is not None:
                    send_signal(attachment.main, 15)
            original(supervisor)

        return close

    replace_in(Supervisor, "close", make)


# --- starts -----------------------------------------------------------------------------------------------------


@bug("intent before exec")
def launches_do_not_wait_for_their_commit() -> None:
    """A start that is faster than its record."""

    def make(original: Any) -> Any:
        def then(turn: Turn, run: Callable[[], None], *, start_of: str | None = None) -> None:
            if not start_of:
                original(turn, run)
                return
            run()
            if len(turn._ledger.states) == STARTED_TOGETHER:
                time.sleep(STARTS_SECONDS)
            turn.commit_soon()

        return then

    replace_in(Turn, "then", make)


@bug("intent before exec")
def the_gate_opens_before_the_identity_is_written() -> None:
    """A shim that lets its child go first."""
    in_launchers(f"""
import os, time
from manager.process import shim
original = shim._record_identity
def record(attempt, *rest, **more):
    os.write(attempt.gate, b"g")
    if "rehearsal" not in os.readlink("/proc/self/fd/%d" % attempt.directory):
        time.sleep({LATE_SECONDS})
    original(attempt, *rest, **more)
shim._record_identity = record""")


# --- ends -------------------------------------------------------------------------------------------------------


@bug("true exit")
def exits_are_guessed_as_0() -> None:
    """A record whose code is not looked at."""
    replace_in(manager.observe, "_exit_of", lambda _: lambda _: ExitedWithCode(code=0))


@bug("true exit")
def shims_write_137_for_a_signal() -> None:
    """A shell's convention, in the shim itself."""
    in_launchers("""
import os
from manager.process.exit_status import ExitStatus
ExitStatus.of = classmethod(
    lambda cls, code, status: cls("code", code=status if code == os.CLD_EXITED else 128 + status))""")


@bug("justified unknown")
def exit_records_are_not_read() -> None:
    """A manager that believes nothing but what it saw itself."""
    replace_in(manager.observe, "exit_record", lambda _: lambda files, *, is_shim_alive: None)
    replace_in(manager.attachment, "exit_info", lambda _: lambda _: None)
    manager.attachment.KERNEL_EXIT_SECONDS = 0.0


@bug("meaning of the end")
def every_end_is_a_success() -> None:
    """An outcome that does not look at the exit."""

    def judge(state: Any, *_: Any, **__: Any) -> AgentCompleted:
        return AgentCompleted(attempt=state.attempt)

    replace_in(manager.decide, "judge", lambda _: judge)


@bug("alive is not ended", is_of_recovery=True)
def survivors_are_given_up() -> None:
    """A recovery that takes whatever it did not start itself for lost."""
    from manager import recovery

    replace_in(
        recovery,
        "_live",
        lambda _: (
            lambda believed, observed, _: recovery._unknown(
                recovery._seen_at(believed), "not a child of ours", observed
            )
        ),
    )


@bug("nothing left behind")
def descendants_are_left() -> None:
    """A shim that ends with its main process and does not look around."""
    in_launchers("""
from manager.process import sweep
sweep._is_nothing_left = lambda *_: True""")


# --- restarts, views, answers, secrets --------------------------------------------------------------------------


@bug("restart policy")
def restarts_do_not_wait() -> None:
    """A back-off whose timer is set to nothing."""

    def arm(supervisor: Supervisor, agent_id: str, _: Any) -> None:
        supervisor._attach(agent_id).later("backoff", 0.0, lambda: supervisor.start_again(agent_id))

    replace_in(Supervisor, "arm_backoff", lambda _: arm)


@bug("restart policy")
def restarts_have_no_budget() -> None:
    """A restart storm."""
    step = NextAttempt(delay_seconds=0.4, used=1)
    replace_in(manager.judge, "after", lambda _: lambda *_, **__: step)


@bug("views are the fold")
def rows_keep_their_first_pid() -> None:
    """A row that does not follow its attempt."""
    replace_in(
        projections.agents, "agent_row", lambda original: lambda *known: {**original(*known), "pid": 2}
    )


@bug("acknowledged is kept")
def stops_are_acknowledged_and_forgotten() -> None:
    """An order that is answered when it is understood."""

    async def stop(*_: Any, **__: Any) -> None:
        return

    replace_in(Coordinator, "stop", lambda _: stop)


@bug("secrets")
def environments_are_recorded() -> None:
    """A spec that is recorded as it was given."""

    def make(original: Any) -> Any:
        def recorded(spec: AgentSpec, _redactor: Any = None) -> Any:
            told = original(spec.model_copy(update={"env": {}, "labels": {}}))
            return replace(told, labels=dict(spec.env))

        return recorded

    replace_in(AgentSpec, "recorded", make)


@bug(None)
def names_of_records_are_not_durable() -> None:
    """A record whose content is synced, and the directory that it is in is not."""
    in_launchers("""
import os
original = os.fsync
def fsync(descriptor):
    if not os.readlink(f"/proc/self/fd/{descriptor}").endswith("/1"):
        original(descriptor)
os.fsync = fsync""")


@bug("")
def nothing_is_wrong() -> None:
    """No bug: what the others are compared with."""
