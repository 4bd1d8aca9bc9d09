"""Measure process managers side by side: alternating runs on one machine, medians, and ratios between peers.

Absolute figures belong to one machine and one hour; a ratio taken in one run is what can be compared.
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Protocol, TypeVar

from benchmarks.processes import pss_bytes

MEASURED_PACKAGES = ("outlive", "supervisor", "circus", "eventsourcing", "psutil", "sqlalchemy", "pydantic")
HEADINGS = "{:<15}{:<10}{:>6}{:>5}{:>10}{:>8}{:>10}{:>8}{:>10}"


class Peer(Protocol):
    """One process manager under measurement. Building it does nothing; `open` starts it with no process."""

    name: str
    most: int | None
    """No more sleepers than this are asked of it: it would take minutes."""

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""

    def version(self) -> str:
        """Its version, as its own package says."""

    def open(self) -> None:
        """Start the manager, with nothing to manage yet."""

    def start(self, count: int) -> float:
        """Start `count` sleepers; seconds until the manager reports each and each was seen executing."""

    def pids(self) -> list[int]:
        """The manager's own processes, sleepers left out."""

    def stop_all(self) -> float:
        """Stop every sleeper; seconds until none exists."""

    def close(self) -> None:
        """End the manager and whatever is left; its folders too. Safe after any failure."""


P = TypeVar("P", bound=Peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured run of one peer. `bytes_each` is the growth of the manager's memory over one sleeper."""

    peer: str
    count: int
    start_seconds: float
    stop_seconds: float
    idle_bytes: int
    bytes_each: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The medians of one peer, and its times each as multiples of the baseline's (None without a baseline)."""

    peer: str
    version: str
    count: int
    runs: int
    start_seconds: float
    stop_seconds: float
    idle_bytes: float
    bytes_each: float
    start_ratio: float | None
    stop_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that one comparison saw: the machine, each run, and the medians."""

    taken_at: str
    machine: dict[str, str]
    count: int
    baseline: str
    runs: tuple[Run, ...]
    summaries: tuple[Summary, ...]
    skipped: dict[str, str]

    def as_json(self) -> str:
        """One JSON document; durations in seconds, sizes in bytes."""
        return json.dumps(asdict(self), indent=2)

    def as_text(self) -> str:
        """A table for people, with the machine above it and what was left out below."""
        lines = [", ".join(f"{name} {value}" for name, value in self.machine.items())]
        lines.append(f"{self.count} sleepers, ratios to {self.baseline}\n")
        lines.append(
            HEADINGS.format(
                "peer", "version", "count", "runs", "start s", "ratio", "stop s", "ratio", "KB each"
            )
        )
        lines += [_row(summary) for summary in self.summaries]
        lines += [f"{peer}: left out: {reason}" for peer, reason in self.skipped.items()]
        return "\n".join(lines)


def machine() -> dict[str, str]:
    """What the figures depend on: processor, cores, load, memory, kernel, Python and package versions."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.2f}",
        "memory": f"{memory_bytes / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for package in MEASURED_PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def measure(make_peer: Callable[[], Peer], count: int) -> Run:
    """One run from nothing to nothing: open, start, weigh, stop, close."""
    peer = make_peer()
    count = min(count, peer.most or count)
    try:
        peer.open()
        idle_bytes = pss_bytes(peer.pids())
        start_seconds = peer.start(count)
        loaded_bytes = pss_bytes(peer.pids())
        stop_seconds = peer.stop_all()
    finally:
        peer.close()
    return Run(
        peer=peer.name,
        count=count,
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
        idle_bytes=idle_bytes,
        bytes_each=(loaded_bytes - idle_bytes) / count,
    )


def compare(makers: Sequence[Callable[[], Peer]], count: int, rounds: int, baseline: str) -> Report:
    """`rounds` runs of each peer in turn (A B C, A B C, …), so that a busy minute touches all of them alike."""
    taken_at, facts = datetime.now(UTC).isoformat(timespec="seconds"), machine()
    able, skipped = able_and_skipped(makers)
    runs: list[Run] = []
    for number in range(1, rounds + 1):
        for make in able:
            runs.append(measure(make, count))
            print(f"round {number}: {runs[-1].peer} {runs[-1].start_seconds:.3f} s", file=sys.stderr)
    versions = {peer.name: peer.version() for peer in (make() for make in able)}
    return Report(
        taken_at=taken_at,
        machine=facts,
        count=count,
        baseline=baseline,
        runs=tuple(runs),
        summaries=_summaries(runs, versions, baseline),
        skipped=skipped,
    )


def able_and_skipped(makers: Sequence[Callable[[], P]]) -> tuple[list[Callable[[], P]], dict[str, str]]:
    """Those that can run here; why the others cannot, by name."""
    skipped = {peer.name: reason for make in makers if (reason := (peer := make()).unavailable())}
    return [make for make in makers if make().name not in skipped], skipped


def in_turns(
    makers: Sequence[Callable[[], P]], rounds: int, measured: Callable[[P], float]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """What was measured of each peer that can run here, opened and closed for each time; why the others cannot."""
    able, skipped = able_and_skipped(makers)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for make in able:
            peer = make()
            try:
                peer.open()
                found.setdefault(peer.name, []).append(measured(peer))
            finally:
                peer.close()
    return found, skipped


def _summaries(runs: Sequence[Run], versions: dict[str, str], baseline: str) -> tuple[Summary, ...]:
    def mid(peer: str, field: str) -> float:
        return float(median(getattr(run, field) for run in runs if run.peer == peer))

    def count(peer: str) -> int:
        return next(run.count for run in runs if run.peer == peer)

    def ratio(peer: str, field: str) -> float | None:
        if baseline not in versions:
            return None
        return mid(peer, field) / count(peer) / (mid(baseline, field) / count(baseline))

    return tuple(
        Summary(
            peer=peer,
            version=versions[peer],
            count=count(peer),
            runs=sum(run.peer == peer for run in runs),
            start_seconds=mid(peer, "start_seconds"),
            stop_seconds=mid(peer, "stop_seconds"),
            idle_bytes=mid(peer, "idle_bytes"),
            bytes_each=mid(peer, "bytes_each"),
            start_ratio=ratio(peer, "start_seconds"),
            stop_ratio=ratio(peer, "stop_seconds"),
        )
        for peer in versions
    )


def _row(s: Summary) -> str:
    start, stop, kilobytes = f"{s.start_seconds:.3f}", f"{s.stop_seconds:.3f}", f"{s.bytes_each / 1024:.1f}"
    return HEADINGS.format(
        s.peer,
        s.version,
        s.count,
        s.runs,
        start,
        _ratio(s.start_ratio),
        stop,
        _ratio(s.stop_ratio),
        kilobytes,
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
