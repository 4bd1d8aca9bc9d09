"""The harness's list of what it did, and what each entry excuses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.faults.oracle.ledger import read_lines

SIGNALS = {"kill": 9, "oom": 9, "term": 15, "stop": 19, "cont": 18}
HARMLESS = frozenset({17, 18, 19, 20, 21, 22, 23, 28})  # by default a process goes on, or is stopped
IGNORED_BY_OURS = HARMLESS | {1, 2, 3, 13, 15, 25}  # of launchers and shims
EVERYTHING = ("all", "host")


@dataclass(frozen=True)
class Fault:
    """One fault that the harness did, at a time since boot; `signal` where it was one."""

    at: int
    kind: str
    target: str
    pid: int | None
    agent: str | None
    attempt: int | None
    signal: int | None

    def covers(self, agent: str, attempt: int, pids: Collection[int]) -> bool:
        """Whether it was done to this attempt, or to one of these processes; or to all of its target's kind."""
        if self.agent is not None:
            return self.agent == agent and self.attempt in (None, attempt)
        return self.pid is None or self.pid in pids

    @property
    def is_reboot(self) -> bool:
        """Whether everything that ran was lost with it."""
        return self.kind in ("reboot", "power")

    @property
    def takes_shim_away(self) -> bool:
        """Whether a shim that it was done to may be gone: nobody is left who writes the exit."""
        if self.target == "shim":
            deadly = self.signal is None or self.signal not in IGNORED_BY_OURS
            return deadly and self.kind not in ("clock", "delay", "disable")
        return self.target in EVERYTHING and (self.is_reboot or self.signal == 9)

    @property
    def takes_coordinator_away(self) -> bool:
        """Whether a coordinator that it was done to may have lost what it held, or been kept from looking."""
        return self.target in ("coordinator", *EVERYTHING) and self.kind != "clock"

    @property
    def spoils_records(self) -> bool:
        """Whether files of an attempt may say something else, or nothing, afterwards."""
        return self.target in ("attempt", *EVERYTHING) and (self.kind == "damage" or self.is_reboot)

    @property
    def spoils_log(self) -> bool:
        """Whether the log could not be written for a while, or is an older one."""
        return self.target in ("store", *EVERYTHING) and self.signal is None and self.kind != "clock"

    @property
    def stops_time(self) -> bool:
        """Whether clocks cannot be compared after it."""
        return self.kind == "clock" or self.target == "clock"


def read_faults(path: Path) -> list[Fault]:
    """The harness's list. Raises `Undecidable`."""
    return [
        Fault(
            at=line["at"],
            kind=line["kind"],
            target=line["target"],
            pid=line.get("pid"),
            agent=line.get("agent"),
            attempt=line.get("attempt"),
            signal=line.get("signal") or SIGNALS.get(line["kind"]),
        )
        for line in read_lines(path)
    ]
