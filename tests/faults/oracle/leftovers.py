"""The promise that an attempt that is over leaves nothing behind: no process, no temporary file, no cgroup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.faults.oracle.case import Case
from tests.faults.oracle.fold import Attempt
from tests.faults.oracle.processes import Process
from tests.faults.oracle.report import Violation

PROMISE = "nothing left behind"
INIT = 1  # which reaps the orphans that it is given when it likes


def check_leftovers(case: Case) -> Iterator[Violation]:
    """What is still there of attempts that the log calls over."""
    marked = _by_mark(case)
    for attempt in case.attempts:
        if attempt.is_over:
            yield from _processes(case, attempt, marked.get((attempt.agent, attempt.number), []))
            yield from _shim(case, attempt)
            yield from _cgroup(case, attempt)
            yield from _files(case, attempt)
    yield from _strays(case)


def _by_mark(case: Case) -> dict[tuple[str, int], list[Process]]:
    """Living processes by the agent and attempt that their environment names."""
    found: dict[tuple[str, int], list[Process]] = {}
    for process in case.processes.values():
        marks = dict(entry.split(b"=", 1) for entry in process.environment if entry.startswith(b"OUTLIVE_"))
        agent, number = marks.get(b"OUTLIVE_AGENT_ID", b"").decode(), marks.get(b"OUTLIVE_ATTEMPT", b"")
        if agent in case.agents and number.isdigit() and not process.is_zombie:
            found.setdefault((agent, int(number)), []).append(process)
    return found


def _processes(case: Case, attempt: Attempt, marked: list[Process]) -> Iterator[Violation]:
    seen = {process.pid: process for process in marked}
    born = [(line.pid, int(line.words[0])) for line in case.told((attempt.agent, attempt.number), "FORK")]
    start = case.start(attempt)
    if start is not None and start.pid_namespace in {one.pid_namespace for one in case.processes.values()}:
        born.append((start.pid, start.start_ticks))
    for pid, ticks in born:
        process = case.processes.get(pid)
        if process is not None and process.start_ticks == ticks:
            seen[pid] = process
    # An agent can erase its marks; once its shim is lost nobody can find all that it left, and the log says so.
    is_excused = not _is_complete(attempt) and any(fault.takes_shim_away for fault in case.done_to(attempt))
    for pid, process in seen.items():
        if process.is_zombie and process.parent != INIT:
            yield _of(
                attempt, f"pid {pid} ({process.comm}, a child of {process.parent}) of it was not reaped"
            )
        elif not process.is_zombie and not is_excused:
            yield _of(attempt, f"pid {pid} ({process.comm}) of it lives")


def _is_complete(attempt: Attempt) -> bool:
    return attempt.end is not None and bool(attempt.end.body.get("is_tree_complete"))


def _shim(case: Case, attempt: Attempt) -> Iterator[Violation]:
    identity = case.record(attempt, "identity")
    process = case.processes.get(identity.get("shim_pid", 0))
    if process is None or process.start_ticks != identity["shim_start_ticks"]:
        return
    if process.boot_id != identity["boot_id"] or process.pid_namespace != identity["pid_namespace"]:
        return
    if process.is_zombie and process.parent == INIT:
        return
    if any(fault.kind == "stop" for fault in case.done_to(attempt, "shim", "all")):
        return
    yield _of(attempt, f"its shim {process.pid} is still there")


def _cgroup(case: Case, attempt: Attempt) -> Iterator[Violation]:
    path = (attempt.process or {}).get("cgroup") or case.record(attempt, "identity").get("cgroup")
    is_excused = any(fault.takes_shim_away for fault in case.done_to(attempt))
    if path and os.path.isdir(path) and not is_excused:
        yield _of(attempt, f"its cgroup {path} is still there")


def _files(case: Case, attempt: Attempt) -> Iterator[Violation]:
    directory = case.directory(attempt)
    if any(fault.takes_shim_away or fault.signal is None for fault in case.done_to(attempt)):
        return  # whoever was at the file was taken away, or the disk refused
    for path in _temporary(directory):
        yield _of(attempt, f"{path.name} is left in its directory")


def _strays(case: Case) -> Iterator[Violation]:
    """Directories of attempts that nobody intended; temporary files beside the log."""
    known = {(attempt.agent, str(attempt.number)) for attempt in case.attempts}
    is_older = any(fault.spoils_log for fault in case.faults)
    for agent in _entries(case.home / "agents"):
        for number in _entries(agent):
            if (agent.name, number.name) not in known and not is_older:
                evidence = f"{number} exists, and the log has no SPAWNING of it"
                yield Violation("intent before exec", evidence, None, agent.name)
    if not any(fault.takes_coordinator_away for fault in case.faults):
        for path in _temporary(case.home):
            yield Violation(PROMISE, f"{path} is left")


def _temporary(directory: Path) -> list[Path]:
    return [path for path in _entries(directory) if path.name.endswith((".tmp", ".new", ".temporary"))]


def _entries(directory: Path) -> list[Path]:
    try:
        return [directory / name for name in os.listdir(directory)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _of(attempt: Attempt, evidence: str) -> Violation:
    row = attempt.end or attempt.outcome
    position = None if row is None else row.position
    return Violation(PROMISE, evidence, position, attempt.agent, attempt.number)
