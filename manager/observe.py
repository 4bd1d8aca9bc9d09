"""Look at one attempt: its directory, its shim's lock, its processes. `manager.recovery` compares what is seen."""

from __future__ import annotations

import os
import secrets
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import manager.process.record_shapes  # noqa: F401 - now: later there may be no descriptor to load it by
from eventstore.payloads import SALT_BYTES, Payload
from eventstore.state import AgentState, Live
from eventstore.values import Exit, ExitedBySignal, ExitedWithCode, ExitUnknown, ProcessRecord, ResourceUse
from manager import stopmarks
from manager.attemptsecrets import of_request
from manager.output import last_lines
from manager.process import procfs, tree
from manager.process.attempt_dir import AttemptFiles, Damaged, Missing, read_as
from manager.process.attempt_lock import claim, has_traces, holds_main, is_locked, shim_alive
from manager.process.identity import Identity, Match, prove
from manager.process.signalling import ProvenProcess
from manager.recovery import ExitRecord, FailedExec, Observed, Presence
from manager.redaction import BY_RULES_ALONE
from projections.lines import line_of


class Look(NamedTuple):
    """What was seen, the handles to what is alive (the caller closes them), and the names of marks of a stop."""

    observed: Observed
    main: ProvenProcess | None
    shim: ProvenProcess | None
    token: str
    marks: tuple[str, ...]


def look(home: Path, believed: AgentState, *, now: int, is_recovery: bool, token: str = "") -> Look:
    """Look at the attempt that `believed` is in. Claims the directory of one that was never launched.

    `token`: the attempt's, where the caller knows it.
    Raises OSError when we, not the attempt, are at fault (out of descriptors, no permission).
    """
    path = str(home / believed.directory)
    live = believed.phase if isinstance(believed.phase, Live) else None
    is_same_boot = believed.boot_id == procfs.boot_id()
    directory: Literal["present", "claimed"] = "present"
    if live is None and (claim(path) if is_same_boot else not os.path.isdir(path)):
        directory = "claimed"
    # The shim is looked for before the records are read: one that is gone has written all that it ever will.
    shim, is_shim_alive = _find_shim(path, live) if is_same_boot else (None, False)
    files = AttemptFiles(path)
    process = live.process if live is not None else process_record(files)
    token = token or _token(files)
    main, presence, evidence = _find_main(path, process, is_same_boot)
    exit_ = exit_record(files, is_shim_alive=is_shim_alive)
    is_tree = exit_ is not None and (exit_.exit is not None or believed.spec.until == "tree")
    is_of_first_only = is_tree and not isinstance(files.exit, dict)
    if is_of_first_only and process is not None and is_same_boot and _others_alive(process, token):
        # until=tree and the shim is lost: what the first process left is not over.
        exit_, presence, evidence = None, "unproved", "descendants of it still run, its shim is lost"
    is_damaged = live is None and is_same_boot and _is_identity_lost(path, files)
    if is_damaged and tree.is_marked(*believed.directory.split("/")[-2:]):
        presence, evidence = "unproved", "a process carries its marks, its identity is damaged"
    evidence = "its shim holds the attempt's lock" if is_shim_alive else evidence
    marks = stopmarks.read(path)
    observed = Observed(
        observed_at=now,
        is_recovery=is_recovery,
        is_same_boot=is_same_boot,
        directory=directory,
        is_shim_alive=is_shim_alive,
        identity=process,
        is_identity_damaged=is_damaged,
        has_executed=True if live is not None else _has_executed(files, main),  # STARTED says so
        failed_exec=None if live is not None else failed_exec(files),
        exit=exit_,
        process=presence,
        evidence="; ".join((evidence, *marks.problems)),
        executed_at=None if live is not None else _executed_at(files),
        last_output=_last_output(path, files) if _may_have_failed(believed, exit_, is_shim_alive) else None,
        recalled=marks.signals,
    )
    return Look(observed, main, shim, token, marks.names)


def _token(files: AttemptFiles) -> str:
    found = (record["token"] for record in (files.spec, files.identity) if isinstance(record, dict))
    return next(found, "")


def _executed_at(files: AttemptFiles) -> int | None:
    return files.exec.get("confirmed_at") if isinstance(files.exec, dict) else None


def _may_have_failed(believed: AgentState, seen: ExitRecord | None, is_shim_alive: bool) -> bool:
    if seen is None:
        return not is_shim_alive
    stop = believed.phase.stop if isinstance(believed.phase, Live) else None
    if stop is not None:
        return stop.cause in ("limit", "health")
    return not isinstance(seen.exit, ExitedWithCode) or seen.exit.code not in believed.spec.success_codes


def _last_output(path: str, files: AttemptFiles) -> Payload | None:
    redactor = of_request(files.spec) if isinstance(files.spec, dict) else BY_RULES_ALONE
    lines, stream = last_lines(Path(path), redactor.output)
    if not lines:
        return None
    agent_id = Path(path).parent.name
    return Payload(agent_id, secrets.token_bytes(SALT_BYTES), "\n".join(lines), line_of(lines), stream)


def _is_identity_lost(path: str, files: AttemptFiles) -> bool:
    """Whether there was, or may have been, an identity that cannot be read any more."""
    if isinstance(files.identity, Missing):
        return is_locked(path) is None or has_traces(path)
    return isinstance(files.identity, Damaged)


def process_record(files: AttemptFiles) -> ProcessRecord | None:
    """The identity that the shim wrote, in the log's form; None where there is none that can be trusted."""
    return None if not isinstance(files.identity, dict) else process_record_of(files.identity)


def process_record_of(body: dict[str, Any]) -> ProcessRecord:
    """A shim's identity record in the log's form. Raises KeyError for another record."""
    return ProcessRecord(
        pid=body["pid"],
        start_ticks=body["start_ticks"],
        boot_id=body["boot_id"],
        pid_namespace=body["pid_namespace"],
        pidfd_inode=body["pidfd_inode"],
        shim_pid=body["shim_pid"],
        shim_start_ticks=body["shim_start_ticks"],
        shim_pidfd_inode=body["shim_pidfd_inode"],
        cgroup=body["cgroup"],
    )


def main_identity(process: ProcessRecord) -> Identity:
    """The main process's identity, as it can be proved."""
    return Identity(
        process.pid, process.start_ticks, process.boot_id, process.pid_namespace, process.pidfd_inode
    )


def shim_identity(process: ProcessRecord) -> Identity:
    """The shim's identity, as it can be proved."""
    return Identity(
        process.shim_pid,
        process.shim_start_ticks,
        process.boot_id,
        process.pid_namespace,
        process.shim_pidfd_inode,
    )


def failed_exec(files: AttemptFiles) -> FailedExec | None:
    """The shim's word that nothing was executed, from its exec record or (the same fact, later) its exit record."""
    for body in (files.exec, files.exit):
        if isinstance(body, dict) and body.get("phase") is not None:
            return FailedExec(phase=body["phase"], errno=body["errno"], message=body["message"])
    return None


def exit_record(files: AttemptFiles, *, is_shim_alive: bool) -> ExitRecord | None:
    """The recorded exit; with until=tree and a lost shim, that of the first process."""
    body = files.exit
    is_whole = True
    if not isinstance(body, dict) and not is_shim_alive and not isinstance(files.main, dict):
        is_damaged = isinstance(files.exit, Damaged) or isinstance(files.main, Damaged)
        return ExitRecord(exit=None, is_damaged=True) if is_damaged else None
    if not isinstance(body, dict) and not is_shim_alive:
        body, is_whole = files.main, False
    if not isinstance(body, dict) or body["kind"] == "failed_start":
        return None
    left = files.sweep if isinstance(files.sweep, dict) else None
    usage = body.get("rusage")
    return ExitRecord(
        exit=_exit_of(body),
        ended_at=body["ended_at"],
        ended_boottime_ns=body["ended_boottime_ns"],
        ran_seconds=(body["ended_boottime_ns"] - body["started_boottime_ns"]) / 1e9,
        leftovers=None if left is None else tuple(item["pid"] for item in left["left"]),
        is_tree_complete=is_whole and left is not None and bool(left["complete"]),
        oom_killed=None if body["oom_kills"] is None else body["oom_kills"] > 0,
        resources=None
        if usage is None
        else ResourceUse(
            user_seconds=usage["utime_us"] / 1e6,
            system_seconds=usage["stime_us"] / 1e6,
            max_memory_bytes=usage["maxrss_bytes"],
        ),
    )


def wait_status(status: int) -> Exit:
    """A wait status (as waitpid gives it) as an exit."""
    if os.WIFSIGNALED(status):
        return ExitedBySignal(signal=os.WTERMSIG(status), core_dumped=os.WCOREDUMP(status))
    return ExitedWithCode(code=os.WEXITSTATUS(status))


def _exit_of(body: dict[str, Any]) -> Exit:
    if body["kind"] == "unknown":
        return ExitUnknown(reason=body["message"], not_before_at=None, not_after_at=body["ended_at"])
    if body["kind"] == "signal":
        return ExitedBySignal(signal=body["signal"], core_dumped=bool(body["core"]))
    return ExitedWithCode(code=body["code"])


def _find_main(
    path: str, process: ProcessRecord | None, is_same_boot: bool
) -> tuple[ProvenProcess | None, Presence, str]:
    if process is None or not is_same_boot:
        return None, "gone", "no identity was recorded" if process is None else "the host was booted again"
    proof = prove(main_identity(process), shim_holds_lock=lambda: holds_main(path))
    if proof.match is Match.UNCERTAIN:
        return None, "unproved", proof.reason
    if proof.process is None:
        return None, "gone", proof.reason
    if proof.process.has_ended:
        return proof.process, "gone", "it is a zombie"
    return proof.process, "same", proof.reason


def _find_shim(path: str, live: Live | None) -> tuple[ProvenProcess | None, bool]:
    """The shim's handle where it can be proved, and whether it lives: by its own identity, else by the held lock."""
    identity = read_as("identity", path) if live is None else None
    process = (
        live.process
        if live is not None
        else process_record_of(identity)
        if isinstance(identity, dict)
        else None
    )
    if process is None or process.pid_namespace != procfs.pid_namespace():
        return None, shim_alive(path)
    proof = prove(shim_identity(process), shim_holds_lock=lambda: shim_alive(path))
    if proof.process is None:
        return None, False
    if not proof.process.has_ended:
        return proof.process, True
    proof.process.close()
    return None, False


def _has_executed(files: AttemptFiles, main: ProvenProcess | None) -> bool | None:
    if isinstance(files.exec, dict):
        return files.exec.get("phase") is None
    if main is None:
        return None
    stat = procfs.read_stat(main.pid)
    return None if stat is None else stat.has_executed


def _others_alive(process: ProcessRecord, token: str) -> bool:
    members = tree.cgroup_members(process.cgroup) if process.cgroup else ()
    holders = tree.token_holders(token) if token else ()
    return any(True for _ in chain(members, holders))
