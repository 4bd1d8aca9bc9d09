"""What outlive promises, checked after a story that was killed somewhere: by the agents' own ledger, the log, /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from eventstore.events import ZombieReaped
from eventstore.record import RecordedEvent
from eventstore.values import ExitUnknown
from manager import Manager
from manager.process import procfs
from manager.process.attempt_lock import shim_alive
from manager.process.identity import identify
from manager.status import AgentStatus
from projections.checking import check
from tests.support import story
from tests.support.processes import eventually, runs

MOVES = frozenset({"REATTACHED"})  # what opening a home may add however often it is opened


@dataclass(frozen=True)
class Told:
    """One line of the agents' ledger."""

    agent_id: str
    attempt: int
    pid: int


def our_environment() -> dict[str, str]:
    """Ours, with the modules under test."""
    return {**os.environ, "PYTHONPATH": str(story.ROOT)}


def tell(home: Path, *chapters: str, crash: str = "", **variables: str) -> subprocess.Popen[bytes]:
    """Start a story in a process of its own."""
    environment = {**our_environment(), **variables}
    if crash:
        environment["OUTLIVE_CRASH"] = f"{crash}:{witness_of(home)}"
    command = [sys.executable, "-m", "tests.support.story", str(home), *chapters]
    return subprocess.Popen(command, env=environment, cwd=story.ROOT, stderr=subprocess.PIPE)


def witness_of(home: Path) -> Path:
    """The file that a crash leaves."""
    return home.with_name(f"{home.name}.crashed")


def ledger(home: Path) -> list[Told]:
    """All lines that agents have written."""
    path = story.ledger_of(home)
    lines = path.read_text().splitlines() if path.exists() else []
    return [Told(agent, int(attempt), int(pid)) for agent, attempt, pid in map(str.split, lines)]


def settle(manager: Manager) -> list[AgentStatus]:
    """All agents, once each has ended or runs and was not asked to end."""

    def look() -> tuple[AgentStatus, ...] | None:
        found = manager.statuses(all=True)
        unsettled = [
            status
            for status in found
            if not status.is_final
            and (status.state != "RUNNING" or status.name in (story.EXITS, story.DAEMON) or not status.pid)
        ]
        return None if unsettled else (NOBODY, *found)

    settled = eventually(look, "every agent ends or runs")
    return list(settled or ())[1:]


NOBODY: AgentStatus = object()  # type: ignore[assignment]  # an empty list is no answer to wait for


def check_promises(home: Path, *, shims_lost: Collection[str] = ()) -> list[AgentStatus]:
    """Open the home twice after a crash, and hold what it says against the truth; the agents as the log ends up.

    `shims_lost`: the agents whose shims were killed; of them, and of no other, an exit may be unknown.
    """
    with Manager.open(home, actor="after the crash") as manager:
        agents = settle(manager)
        no_attempt_ran_twice(home, manager)
        for status in agents:
            _tells_the_truth(home, manager, status, is_shim_lost=status.name in shims_lost)
        survivors = [status for status in agents if not status.is_final]
        before = _moves(manager)
    with Manager.open(home, actor="once more") as manager:
        report = manager.recovery
        assert report is not None
        assert (report.ended, report.lost, report.never_started) == (0, 0, 0), report
        assert _moves(manager) == before, "opening once more found something new"
        log_is_whole(manager)
        for status in survivors:
            assert manager.status(status).pid == status.pid
        manager.kill_all()
        log_is_whole(manager)
        incomplete = _incomplete(manager)
        left = list(living(home))
        assert {agent for _, agent in left} <= incomplete, f"still there after the kill: {left}"
    return agents


def living(home: Path) -> Iterator[tuple[int, str]]:
    """(pid, agent id) of every living process of a home's agents, found by the marks in its environment."""
    mark = f"{story.MARK}={home}".encode()
    for pid in procfs.all_pids():
        environment = (procfs.read_bytes(f"/proc/{pid}/environ") or b"").split(b"\0")
        if mark in environment and runs(pid):
            named = [entry for entry in environment if entry.startswith(b"OUTLIVE_AGENT_ID=")]
            yield pid, named[0].partition(b"=")[2].decode() if named else ""


def clean_up(home: Path) -> None:
    """SIGKILL to everything that carries the mark of this home, until nothing does and no shim writes to it."""

    def none_left() -> bool:
        found = [(pid, os.pidfd_open(pid)) for pid, _ in living(home) if runs(pid)]
        still = {pid for pid, _ in living(home)}
        for pid, handle in found:
            if pid in still:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        return not found

    eventually(none_left, "the story's processes end")
    eventually(lambda: not any(map(shim_alive, map(str, home.glob("agents/*/*")))), "its shims write no more")


def no_attempt_ran_twice(home: Path, manager: Manager) -> None:
    """Each attempt ran at most once, and none without its intent in the log."""
    intents = {(e.stream.partition("/")[2], e.attempt) for e in manager.events() if e.type == "SPAWNING"}
    ran = Counter((told.agent_id, told.attempt) for told in ledger(home))
    assert all(times == 1 for times in ran.values()), f"started twice: {ran}"
    assert set(ran) <= intents, f"started without an intent in the log: {set(ran) - intents}"


def _tells_the_truth(home: Path, manager: Manager, status: AgentStatus, *, is_shim_lost: bool) -> None:
    told = [line for line in ledger(home) if line.agent_id == status.id]
    history = list(manager.events(agent=status))
    types = [event.type for event in history]
    reaped = [event.event for event in history if isinstance(event.event, ZombieReaped)]
    if not told:
        # It never ran; only a shim that died during the start leaves room for doubt.
        allowed = ("FAILED", "LOST") if is_shim_lost else ("FAILED",)
        assert status.state in allowed, (status.state, types)
        return
    assert len(told) == 1
    if not status.is_final:
        assert status.name in (story.FAMILY, story.SLEEPER, story.KEEPER), (status.name, types)
        assert "STOP_REQUESTED" not in types
        assert status.pid == told[0].pid
        assert runs(told[0].pid)
        return
    assert not _is_the_same(told[0].pid, status.id), f"{status.name} counts as ended and runs: {types}"
    if reaped and isinstance(reaped[-1].exit, ExitUnknown):
        assert is_shim_lost, f"the exit of {status.name} is unknown: {reaped[-1]}"
        assert reaped[-1].exit.reason
        return
    if status.state == "LOST":
        assert is_shim_lost, types
        return
    assert status.exit is not None, types
    expected = {
        story.EXITS: ("FAILED", "code", 7, None),
        story.DAEMON: ("FAILED", "code", 5, None),
        story.SLEEPER: ("CANCELLED", "code", 0, None),
        story.FAMILY: ("KILLED", "signal", None, 9),
    }[status.name]
    assert (status.state, status.exit.kind, status.exit.code, status.exit.signal) == expected, types
    if status.state == "FAILED":
        assert status.cause == "exit", status.message  # it had outlived its start window, whoever saw it
    if status.state == "KILLED":
        assert "SIGKILL_SENT" in types
    if status.state == "CANCELLED":
        assert "SIGTERM_SENT" in types


def _is_the_same(pid: int, agent_id: str) -> bool:
    environment = procfs.read_bytes(f"/proc/{pid}/environ") or b""
    return identify(pid) is not None and runs(pid) and f"OUTLIVE_AGENT_ID={agent_id}".encode() in environment


def _moves(manager: Manager) -> list[tuple[str, str]]:
    return [(e.stream, e.type) for e in manager.events() if _is_move(e)]


def _is_move(event: RecordedEvent) -> bool:
    return event.stream.startswith("agent/") and event.type not in MOVES


def log_is_whole(manager: Manager) -> None:
    """The hash chain holds, and the rows are what the log says."""
    store = manager._coordinator.store
    verdict = store.verify()
    assert verdict.is_intact, verdict
    assert check(store) == []


def _incomplete(manager: Manager) -> set[str]:
    """Agents whose log says that what they left behind may not be gone."""
    return {
        event.stream.partition("/")[2]
        for event in manager.events()
        if (isinstance(event.event, ZombieReaped) and not event.event.is_tree_complete)
        or event.type == "LOST"
    }
