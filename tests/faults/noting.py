"""What the harness notes of a run before it does it, or once it was told: asks, answers, faults."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults import asking

COMMAND = f"uid:{os.getuid()}/cli"  # who a command says that it is
KINDS: dict[int, str] = {signal.SIGKILL: "kill", signal.SIGSTOP: "stop", signal.SIGCONT: "cont"}


class Notes:
    """The lists in the directory of a run."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.seed = seed
        self._asks = 0
        self._answers = 0

    def asked(self, **order: Any) -> int | None:
        """Note what is about to be asked for, in the form of `tests/faults/asking.py`; its number, None for nothing."""
        if "ask" not in order:
            return None
        self._asks += 1
        append(self.path / "asks.jsonl", {"id": self._asks, "at": now(), **order})
        return self._asks

    def asked_by_command(self, *arguments: str) -> None:
        """Note the command line of an `outlive` that is about to be run."""
        self.asked(by=COMMAND, **asking.of_command(arguments) or {})

    def told(
        self,
        ask: str,
        answer: str,
        *,
        order: int | None = None,
        agent: str | None = None,
        position: int | None = None,
        error: str | None = None,
    ) -> None:
        """Note what a client asked for and was told: "ack", "error", or "none" where no answer came."""
        self._answers += 1
        line = {"ask": ask, "id": self._answers, "order": order, "answer": answer}
        append(self.path / "clients.jsonl", {**line, "agent": agent, "position": position, "error": error})

    # --- faults -------------------------------------------------------------------------------------------------

    def fault(
        self,
        kind: str,
        target: str,
        *,
        pid: int | None = None,
        agent: str | None = None,
        attempt: int | None = None,
        **more: Any,
    ) -> None:
        """Note a fault; call it before the fault is done. No pid and no agent: it covers all of its target's kind."""
        line = {
            "at": now(),
            "kind": kind,
            "target": target,
            "pid": pid,
            "agent": agent,
            "attempt": attempt,
            "seed": self.seed,
        }
        append(self.path / "faults.jsonl", {**line, **more})

    def kill(self, target: str, pid: int, number: int = signal.SIGKILL, *, agent: str | None = None) -> None:
        """Note it, then send a signal; a process that is gone already is no matter."""
        kind = KINDS.get(number, "signal")
        self.fault(kind, target, pid=pid, agent=agent, signal=int(number))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def now() -> int:
    """Nanoseconds since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def append(path: Path, content: Mapping[str, Any]) -> None:
    """Add one object to a file of JSON lines, in one write."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(content).encode() + b"\n")
