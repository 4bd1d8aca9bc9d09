"""Power loss in a coordinator's and its shims' lives: the home opens after a boot, and tells what was made durable."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import OutliveError
from manager import Manager
from tests.faults import disk_trace
from tests.faults.boots import under_another_boot
from tests.faults.crash_images import Image, Recording, spread
from tests.faults.disk_trace import Op
from tests.faults.oracle.fold import check_epochs, check_transitions, fold
from tests.faults.oracle.log import Row, check_chain, read_rows
from tests.faults.run import Run
from tests.support.tally import Tally

SEED = 6
EXITS = {"ends": ("code", 7), "tree": ("code", 5), "stays": ("signal", 9)}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory where there is one: the images are made, whatever lies below them."""
    path = Path(
        tempfile.mkdtemp(prefix="outlive-power-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    yield path
    shutil.rmtree(path)


@dataclass(frozen=True)
class Life:
    """A recorded run: what was done to its home, the log at its end, the agents' ids by name."""

    recording: Recording
    rows: list[Row]
    ids: dict[str, str]


@dataclass
class Known:
    """What had been told to somebody, or was known to nobody but a shim that reaped, before a moment."""

    position: int = 0
    started: set[tuple[str, int]] = field(default_factory=set)
    exits: set[tuple[str, int]] = field(default_factory=set)


def live(run: Run, *options: str) -> Life:
    """A home is made, agents are started in it, end in several ways, and the coordinator leaves."""
    trace = run.path / "disk.trace"
    names = ["ends", "tree", "stays", "fails"]
    specs = [
        run.agent("--exit-after", "0.4", "--code", "7"),
        run.agent(
            "--daemonise", "--daemon-seconds", "0.6", "--exit-after", "0.3", "--code", "5", until="tree"
        ),
        run.agent("--ignore", "TERM"),
        {**run.agent(), "command": ["/nowhere"]},
    ]
    under = [*under_another_boot(run.path), *disk_trace.command(trace)]
    with run.coordinator(*options, under=under) as coordinator:
        ids = dict(zip(names, coordinator.spawn(*specs, names=names), strict=True))
        coordinator.ask("wait", agents=[ids["ends"], ids["tree"]])
        coordinator.ask("stop", agents=[ids["stays"]])
    ops = disk_trace.read(trace, below=run.home, tells=["pipe", str(run.ledger)])
    return Life(Recording(run.home, ops), read_rows(run.home / "events.db"), ids)


def known_at(life: Life, moment: int) -> Known:
    """What must be found whatever was lost after the first `moment` operations."""
    known = Known()
    mains = {
        str(row.body["process"]["pid"]): (row.agent or "", row.attempt or 0)
        for row in life.rows
        if row.type == "STARTED"
    }
    for op in life.recording.ops[:moment]:
        if op.kind == "tell" and op.path == "pipe":
            for answer in _answers(op):
                known.position = max(known.position, answer["position"] or 0)
        elif op.kind == "tell" and op.path == "reaped":
            known.exits.update(key for key in [mains.get(op.data.decode())] if key is not None)
        elif op.kind == "tell":
            for line in op.data.decode().splitlines():
                if line.startswith("START "):
                    known.started.add((line.split()[1], int(line.split()[2])))
    return known


def _answers(op: Op) -> Iterator[dict[str, Any]]:
    for line in op.data.splitlines():
        with contextlib.suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict) and "answer" in content:
                yield content


def wrong_with(life: Life, image: Image, place: Path) -> str | None:
    """Open the home as it is in the image, after a boot; what is wrong with what it says, or None."""
    scratch = Path(tempfile.mkdtemp(prefix="image-", dir=place))
    try:
        life.recording.build(image, scratch)
        home = scratch / "home"
        with Manager.open(home) as manager:
            unsettled = [status for status in manager.statuses(all=True) if not status.is_final]
            if unsettled:
                return f"not over after a boot: {unsettled}"
        return _wrong_rows(life, known_at(life, image.moment), read_rows(home / "events.db"))
    except OutliveError as error:
        return f"cannot be opened: {error}"
    finally:
        shutil.rmtree(scratch)


def _wrong_rows(life: Life, known: Known, rows: list[Row]) -> str | None:
    kept = next((i for i, (a, b) in enumerate(zip(rows, life.rows, strict=False)) if a != b), len(life.rows))
    if kept < known.position:
        return f"{known.position} events were acknowledged, {kept} are there"
    for violation in (*check_chain(rows), *check_transitions(rows), *check_epochs(rows)):
        return str(violation)
    spawned = {(row.agent, row.attempt) for row in rows[:kept] if row.type == "SPAWNING"}
    if not known.started <= spawned:
        return f"ran without an intent in the log: {known.started - spawned}"
    names = {agent: name for name, agent in life.ids.items()}
    for agent in fold(rows).values():
        for attempt in agent.attempts.values():
            found = attempt.exit or {}
            kind = found.get("kind")
            is_reaped = (agent.id, attempt.number) in known.exits
            if kind in ("code", "signal") and EXITS.get(names[agent.id]) != (kind, found[kind]):
                return f"{names[agent.id]} is said to have ended with {found}"
            if kind == "unknown" and (is_reaped or not found["reason"]):
                return f"the exit of {names[agent.id]} was reaped, and is unknown: {found}"
            if kind is None and is_reaped and names[agent.id] != "fails":
                return f"the exit of {names[agent.id]} was reaped, and nothing is said of it"
    return None


@pytest.mark.strace
@pytest.mark.root
@pytest.mark.parametrize("extent", ["a part", pytest.param("all", marks=pytest.mark.faults)])
def test_power_loss_in_a_coordinators_life(place: Path, tally: Tally, extent: str) -> None:
    """After a power loss at any moment: acknowledged events and reaped exits are there, the rest is unknown."""
    with Run.create(place, seed=SEED) as run:
        life = live(run)
        images = list(life.recording.images())
        chosen = spread(images, 120 if extent == "a part" else 10_000, SEED)
        wrong = [(image, what) for image in chosen if (what := wrong_with(life, image, place))]
        tally("6 power loss: images of a home", runs=len(chosen), violations=len(wrong))
        report = "\n".join(f"{what}: {image}" for image, what in wrong[:10])
        assert not wrong, f"{len(wrong)} of {len(chosen)} images, seed {SEED}:\n{report}"


@pytest.mark.strace
@pytest.mark.root
def test_images_tell_an_exit_that_is_not_durable(place: Path) -> None:
    """The same images show exits lost where a shim reaps before the name of its record is durable."""
    with Run.create(place, seed=SEED) as run:
        life = live(run, "--bug=names_of_records_are_not_durable")
        wrong = {wrong_with(life, image, place) for image in spread(list(life.recording.images()), 120, SEED)}
        assert any(what and "was reaped, and" in what for what in wrong), wrong
