"""Believed and observed: what a new coordinator concludes about one agent, as commands for the usual door.

The log says what was believed when the last coordinator ended; the attempt's directory, the shim's lock and the proved
identity of the process say what is so. `conclude` compares them and does nothing itself. Asked again after its commands
were carried out (or after a crash in between) it comes to the same end.

    believed                 observed                                   concluded
    SPAWNING, no process     no directory (claimed now)                 failed start: never launched
                             shim at work, nothing executed yet         wait for its report
                             executed (exec record)                     started, then as for a process
                             shim gone before the gate opened           failed start: the program never ran
                             exec failed                                failed start, with its errno
                             identity damaged, its marks are seen       keep watching; never signalled
                             identity damaged, nothing of it lives      lost: whether it ran is unknown
                             host restarted                             lost, unless an exit record is there
    process known            exit record of a moment ago, shim sweeps   wait for what was left over
                             exit record                                exit as recorded
                             shim holds its lock                        re-attach through the shim
                             shim gone, process proved the SAME         re-attach to the process alone
                             shim gone, process gone                    exit unknown: shim lost, or record damaged
                             shim gone, cannot be proved                keep watching; never signalled
                             other boot id                              exit unknown: host restarted
    EXITED, not judged       -                                          judge it

Before any of it, once there is a process: marks of a stop that the log lacks (see `manager.stopmarks`) are taken into
it, so that an end is told as what it was, and a stop that was half done goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from eventstore.payloads import Payload
from eventstore.state import AgentState, Ended, Live, Requested, Waiting
from eventstore.values import Exit, ExitUnknown, ProcessRecord, ResourceUse
from manager import commands as do

Presence = Literal["same", "gone", "unproved"]
SWEEP_SECONDS = 10.0  # as long as a shim at most kills what is left over, once the exit is written


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """How the main process ended and who says so; `is_damaged` with `exit` null: a record that cannot be trusted."""

    exit: Exit | None
    source: Literal["shim record", "pidfd"] = "shim record"
    ended_at: int | None = None
    ended_boottime_ns: int | None = None
    ran_seconds: float | None = None
    leftovers: tuple[int, ...] | None = None
    is_tree_complete: bool = True
    oom_killed: bool | None = None
    resources: ResourceUse | None = None
    is_damaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExec:
    """The shim's word that no program was executed."""

    phase: str
    errno: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the disk and the kernel say about an attempt. `is_recovery`: nobody watched it until now.

    `directory`: "claimed" means that the recovery made it itself just now, so that a late request starts nothing.
    `process`: whether the recorded main process is there. `has_executed`: null when nobody can say. `recalled`: signals
    of a stop that were sent while the log could not be written, earliest first.
    """

    observed_at: int
    is_recovery: bool
    is_same_boot: bool
    directory: Literal["present", "claimed"]
    is_shim_alive: bool
    identity: ProcessRecord | None
    is_identity_damaged: bool
    has_executed: bool | None
    failed_exec: FailedExec | None
    exit: ExitRecord | None
    process: Presence
    evidence: str
    last_output: Payload | None = None
    executed_at: int | None = None
    recalled: tuple[do.RecallSignal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """Commands to send, in order; whether to watch the agent afterwards; how it counts in the report."""

    commands: tuple[do.Command, ...]
    watch: bool
    counts_as: Literal["reattached", "ended", "lost", "never started", "pending", "waiting"]


def conclude(
    believed: AgentState,
    observed: Observed | None,
    *,
    unwatched_seconds: float,
    recalled: tuple[do.RecallSignal, ...] = (),
) -> Conclusion:
    """What follows for an agent that has not ended. `observed` is null only where there is nothing to look at.

    `recalled`: as in `Observed`, for an agent that waits for its next attempt.
    """
    match believed.phase:
        case Waiting():
            # An older one is in the log: a later order has made it wait again.
            news = tuple(one for one in recalled if one.stage == 0 and one.at >= believed.since_at)
            return Conclusion(commands=news, watch=True, counts_as="waiting")
        case Ended():
            return Conclusion(commands=(_judge_again(believed.phase),), watch=False, counts_as="ended")
        case Requested():
            assert observed is not None
            return _with_recalled(_requested(observed, unwatched_seconds), observed)
        case Live():
            assert observed is not None
            return _with_recalled(_live(believed, observed, unwatched_seconds), observed)
        case _:
            assert_never(believed.phase)


def _with_recalled(found: Conclusion, observed: Observed) -> Conclusion:
    start = 1 if found.commands and isinstance(found.commands[0], do.ConfirmStarted) else 0
    signals = tuple(one for one in observed.recalled if one.stage > 0)
    called_off = tuple(
        one for one in observed.recalled if one.stage == 0
    )  # a restart that follows from the rest
    return replace(found, commands=(*found.commands[:start], *signals, *found.commands[start:], *called_off))


def _judge_again(ended: Ended) -> do.Command:
    assert ended.exit is not None
    return do.ObserveExit(
        exit=ended.exit, ended_at=ended.ended_at, reaped_by="nobody", source="none", is_recovered=True
    )


def _requested(observed: Observed, unwatched_seconds: float) -> Conclusion:
    if _is_being_swept(observed):
        return Conclusion(commands=(), watch=True, counts_as="pending")
    started = (
        ()
        if observed.identity is None
        else (do.ConfirmStarted(process=observed.identity, executed_at=observed.executed_at),)
    )
    if observed.directory == "claimed":
        if observed.is_same_boot:
            return _never(
                "launch",
                None,
                "it was never launched: its start was refused, or coordinator or launcher ended first",
            )
        return _lost("the host was restarted before the start was confirmed; its directory is gone")
    if observed.failed_exec is not None:
        failed = observed.failed_exec
        return _never(failed.phase, failed.errno, failed.message)
    if observed.exit is not None and observed.exit.exit is not None and started:
        return Conclusion(commands=(*started, _exit(observed, observed.exit)), watch=False, counts_as="ended")
    if not observed.is_same_boot:
        return _lost("the host was restarted before the start was confirmed")
    if observed.is_shim_alive:
        if observed.has_executed and started:
            return _attach((*started,), "shim", observed, unwatched_seconds)
        return Conclusion(commands=(), watch=True, counts_as="pending")
    if observed.identity is None and not observed.is_identity_damaged:
        return _never("shim", None, "the shim ended before the gate was opened: the program never ran")
    if observed.process == "same" and started:
        if observed.has_executed:
            return _attach((*started,), "process", observed, unwatched_seconds)
        return Conclusion(commands=(), watch=True, counts_as="pending")
    if observed.process == "unproved":
        return Conclusion(commands=(), watch=True, counts_as="pending")
    return _lost("the shim was lost during the start; whether the program ran is unknown")


def _live(believed: AgentState, observed: Observed, unwatched_seconds: float) -> Conclusion:
    if _is_being_swept(observed):
        return Conclusion(commands=(), watch=True, counts_as="pending")
    if observed.exit is not None and observed.exit.exit is not None:
        return Conclusion(commands=(_exit(observed, observed.exit),), watch=False, counts_as="ended")
    if not observed.is_same_boot:
        return _unknown(_seen_at(believed), "host rebooted", observed)
    if observed.is_shim_alive:
        return _attach((), "shim", observed, unwatched_seconds)
    if observed.process == "same":
        return _attach((), "process", observed, unwatched_seconds)
    if observed.process == "unproved":
        # No proof that it is the same process, none that it is another: neither signalled nor declared dead.
        return Conclusion(commands=(), watch=True, counts_as="pending")
    is_damaged = observed.exit is not None and observed.exit.is_damaged
    reason = "the exit record is damaged" if is_damaged else "shim lost: nobody saw the exit"
    return _unknown(_seen_at(believed), reason, observed)


def _is_being_swept(observed: Observed) -> bool:
    """Whether its shim wrote the exit a moment ago and will say what was left over; one that hangs is not awaited."""
    record = observed.exit
    if record is None or record.leftovers is not None or record.ended_at is None:
        return False
    return observed.is_shim_alive and 0 <= observed.observed_at - record.ended_at < SWEEP_SECONDS * 1e6


def _seen_at(believed: AgentState) -> int:
    """When its main process was last known to run; a tree that runs says nothing of that."""
    live = believed.phase
    assert isinstance(live, Live)
    return live.started_at if believed.spec.until == "tree" else max(live.started_at, live.running_at or 0)


def _attach(
    first: tuple[do.Command, ...], via: Literal["shim", "process"], observed: Observed, unwatched: float
) -> Conclusion:
    again = do.Reattach(via=via, evidence=observed.evidence, unwatched_seconds=unwatched)
    return Conclusion(commands=(*first, again), watch=True, counts_as="reattached")


def _exit(observed: Observed, record: ExitRecord) -> do.ObserveExit:
    assert record.exit is not None
    return do.ObserveExit(
        exit=record.exit,
        ended_at=record.ended_at,
        ran_seconds=record.ran_seconds,
        reaped_by="shim" if record.source == "shim record" else "init",
        source=record.source,
        is_recovered=observed.is_recovery,
        is_tree_complete=record.is_tree_complete,
        leftovers=record.leftovers,
        oom_killed=record.oom_killed,
        resources=record.resources,
        last_output=observed.last_output,
    )


def _unknown(seen_at: int, reason: str, observed: Observed) -> Conclusion:
    exit_ = ExitUnknown(reason=reason, not_before_at=seen_at, not_after_at=observed.observed_at)
    command = do.ObserveExit(
        exit=exit_,
        ended_at=None,
        reaped_by="nobody",
        source="none",
        is_recovered=observed.is_recovery,
        is_tree_complete=False,
        last_output=observed.last_output,
    )
    return Conclusion(commands=(command,), watch=False, counts_as="lost")


def _never(phase: str, errno: int | None, message: str) -> Conclusion:
    failed = do.ReportFailedStart(phase=phase, errno=errno, message=message)
    return Conclusion(commands=(failed,), watch=False, counts_as="never started")


def _lost(reason: str) -> Conclusion:
    return Conclusion(commands=(do.DeclareLost(reason=reason),), watch=False, counts_as="lost")
