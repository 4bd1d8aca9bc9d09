"""`status.json` and `error.log` in an attempt's directory: for people and scripts that look at files.

Copies of what the log says, written behind it by a thread of their own, never read back by outlive. Many changes of one
agent within a moment make one write. A disk that refuses them loses nothing: the log has it all.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

from eventstore.crashpoints import crash_point
from eventstore.record import rfc3339
from eventstore.state import AgentState, Ended, Live, State, Waiting
from eventstore.values import Exit, ExitUnknown
from manager.attemptsecrets import redactor_of
from manager.output import last_lines

DELAY_SECONDS = 0.2
BLOCK_BYTES = 512


class StatusFiles:
    """Writes behind; `close` writes what is left."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._changed: dict[str, tuple[str, AgentState]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outlive-status-files", daemon=True)
        self._thread.start()

    def write(self, agent_id: str, state: AgentState) -> None:
        """Write the files of the attempt that `state` is in, soon."""
        with self._lock:
            self._changed[state.directory] = (agent_id, state)
        self._wake.set()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(DELAY_SECONDS)
            self._wake.clear()
            with self._lock:
                changed, self._changed = self._changed, {}
            for directory, (agent_id, state) in changed.items():
                with contextlib.suppress(OSError):
                    _write_files(self._home / directory, agent_id, state)


def _write_files(attempt: Path, agent_id: str, state: AgentState) -> None:
    if attempt.is_symlink():
        return  # another directory, perhaps another attempt's
    write_file(attempt / "status.json", json.dumps(describe(agent_id, state), indent=1))
    phase = state.phase.last if isinstance(state.phase, Waiting) else state.phase
    if (
        not isinstance(phase, Ended)
        or phase.failure is None
        or phase.outcome not in (State.FAILED, State.LOST)
    ):
        return
    if not _has_content(attempt / "error.log"):  # written once: it may have been erased since
        lines = [
            f"{rfc3339(phase.ended_at)} {state.name} attempt {state.attempt}: {phase.outcome}",
            f"cause: {phase.failure.cause}",
            f"message: {phase.failure.message}",
            *([] if phase.failure.errno is None else [f"errno: {phase.failure.errno}"]),
            "last output:",
            *(f"  {line}" for line in last_lines(attempt, redactor_of(attempt).output).lines),
        ]
        write_file(attempt / "error.log", "\n".join(lines))


def _has_content(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.lstat().st_size > 0
    return False


def describe(agent_id: str, state: AgentState) -> dict[str, Any]:
    """The content of `status.json`: the agent's state as of its `version`-th event."""
    phase = state.phase.last if isinstance(state.phase, Waiting) else state.phase
    live = phase if isinstance(phase, Live | Ended) else None
    ended = phase if isinstance(phase, Ended) else None
    is_unseen = ended is not None and (isinstance(ended.exit, ExitUnknown) or ended.outcome is State.LOST)
    return {
        "id": agent_id,
        "name": state.name,
        "state": state.state.value,
        "since": rfc3339(state.since_at),
        "attempt": state.attempt,
        "pid": live.process.pid if live is not None and live.process is not None else None,
        "started_at": rfc3339(live.started_at) if live is not None and live.started_at is not None else None,
        "ended_at": rfc3339(ended.ended_at) if ended is not None and not is_unseen else None,
        "exit": _exit(ended.exit) if ended is not None and ended.exit is not None else None,
        "version": state.version,
    }


def _exit(exit_: Exit) -> dict[str, Any]:
    known = ("kind", "code", "signal", "reason")
    return {name: getattr(exit_, name, None) for name in known}


def write_file(path: Path, text: str) -> None:
    """Put `text` into a file of an attempt's directory, in place. Raises OSError."""
    # In place and padded to whole blocks, so that one write replaces all: a reader sees the old text or the new. A
    # temporary file and a rename would cost ten times as much where many inodes were freed just before.
    content = text.encode("utf-8", "replace")
    content += b" " * (-(len(content) + 1) % BLOCK_BYTES) + b"\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    crash_point("coordinator.before_status_file")
    descriptor = os.open(path, flags, 0o600)
    crash_point("coordinator.after_status_file")
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return  # somebody's pipe, or a second name of another file: not ours to write to
        if found.st_mode & 0o777 != 0o600:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            crash_point("coordinator.after_status_file")
        os.pwrite(descriptor, content, 0)
        crash_point("coordinator.after_status_written")
        os.ftruncate(descriptor, len(content))
        crash_point("coordinator.after_status_cut")
    finally:
        os.close(descriptor)
