"""One attempt out of an agent's stream: the event of each step of its life, and what came after its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manager.why.material import OUTCOMES, Entry, Sample

_SENT = {"SIGTERM_SENT": 15, "SIGKILL_SENT": 9}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the log says of attempt `number`. `outcome` is the first verdict; `after` what followed it.

    `samples`: of when its process was seen alive.
    """

    number: int
    entries: tuple[Entry, ...]
    after: tuple[Entry, ...]
    samples: tuple[Sample, ...] = ()

    def first(self, kind: str) -> Entry | None:
        """The first event of a type."""
        return next((entry for entry in self.entries if entry.type == kind), None)

    def all(self, *kinds: str) -> tuple[Entry, ...]:
        """Events of some types."""
        return tuple(entry for entry in self.entries if entry.type in kinds)

    @property
    def outcome(self) -> Entry | None:
        """COMPLETED, FAILED, CANCELLED, KILLED or LOST; None for an attempt that has not been judged."""
        last = self.entries[-1] if self.entries else None
        return last if last is not None and last.type in OUTCOMES else None

    @property
    def reaped(self) -> Entry | None:
        """Its ZOMBIE_REAPED."""
        return self.first("ZOMBIE_REAPED")

    @property
    def stop(self) -> Entry | None:
        """The request that began its stop."""
        return self.first("STOP_REQUESTED")

    @property
    def exit(self) -> Mapping[str, Any] | None:
        """How the process ended, as ZOMBIE_REAPED has it; an end that nobody saw came after it was last seen alive."""
        if self.reaped is None:
            return None
        found = self.reaped.data.get("exit")
        if not isinstance(found, dict):
            return None
        if found.get("kind") != "unknown":
            return found
        alive = () if self.spec.get("until") == "tree" else self.all("RUNNING")
        seen = [entry.at for entry in (*alive, *self.all("REATTACHED"))]
        latest = found.get("not_after_at") or self.reaped.at  # what is later is of a clock that was set
        sampled = (sample.sampled_at for sample in self.samples)
        told = [at for at in (*seen, *sampled, found.get("not_before_at") or 0) if at <= latest]
        return {**found, "not_before_at": max(told, default=0) or None}

    @property
    def ended_at(self) -> int | None:
        """When it ended, if somebody saw it."""
        found = None if self.reaped is None else self.reaped.data.get("ended_at")
        return found if isinstance(found, int) else None

    @property
    def boot_id(self) -> str | None:
        """Of the host, when it was started."""
        spawning = self.first("SPAWNING")
        return None if spawning is None else spawning.data.get("boot_id")

    @property
    def process(self) -> Mapping[str, Any]:
        """The recorded identity; empty where no process is known."""
        started = self.first("STARTED")
        return {} if started is None else started.data.get("process") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """What was asked for."""
        spawning = self.first("SPAWNING")
        return {} if spawning is None else spawning.data.get("spec") or {}

    @property
    def state(self) -> str:
        """Its outcome, else how far it has come."""
        if self.outcome is not None:
            return self.outcome.type
        if self.reaped is not None:
            return "EXITED"
        if self.stop is not None:
            return "STOPPING"
        return "SPAWNING" if self.first("RUNNING") is None else "RUNNING"

    def sent(self, number: int) -> tuple[Entry, ...]:
        """The events that announce a signal of this number by us, of a stop or on somebody's order."""
        return tuple(
            entry
            for entry in self.entries
            if _SENT.get(entry.type) == number
            or (entry.type == "SIGNAL_SENT" and entry.data.get("signal") == number)
        )

    def is_before_end(self, entry: Entry) -> bool:
        """Whether it came before the end of the process, as far as the clocks tell."""
        return self.ended_at is None or entry.at <= self.ended_at


def histories(entries: Sequence[Entry], samples: Sequence[Sample] = ()) -> dict[int, History]:
    """Every attempt of an agent's stream, with its samples, by its number."""
    found: dict[int, tuple[list[Entry], list[Entry]]] = {}
    for entry in entries:
        number = entry.row.attempt
        if number is None:
            continue
        life, after = found.setdefault(number, ([], []))
        is_judged = bool(life) and life[-1].type in OUTCOMES
        (after if is_judged else life).append(entry)
    return {
        number: History(
            number=number,
            entries=tuple(life),
            after=tuple(after),
            samples=tuple(sample for sample in samples if sample.attempt == number),
        )
        for number, (life, after) in found.items()
    }
