"""A long log: it is replayed, verified, compared and read in memory that does not grow with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore import events as ev
from eventstore.appending import Batch
from eventstore.store import EventStore
from manager import Manager
from manager.home import Home
from projections.agents import STREAM_PREFIX, AgentsProjection
from tests.support.histories import PROCESS, new, reaped, spawning
from tests.support.preloaded import ROOT
from tests.support.promises import clean_up
from tests.support.tally import Tally

AGENTS = 200
MOST_MEGABYTES = 256
COMMANDS = (
    ("verify",),
    ("rebuild", "--check"),
    ("rebuild",),
    ("recover",),
    ("at", "10000", "ps", "--all"),
    ("ps", "--all"),
    ("events",),
)
PROGRAM = """
import re, sys
from manager.cli.main import main
try:
    main()
except SystemExit as leaving:
    code = leaving.code or 0
else:
    code = 0
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
print("peak", peak, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home that has had a coordinator."""
    place = tmp_path / "home"
    Manager.open(place).close()
    yield place
    clean_up(place)


def life(size: int) -> list[ev.Event]:
    """What an agent lives through in so many events: it is sent signals until it ends."""
    signals = [ev.SignalSent(attempt=1, signal=10, reason=f"the {number}th") for number in range(size - 5)]
    start: list[ev.Event] = [
        ev.AgentStarted(attempt=1, process=PROCESS),
        ev.AgentRunning(attempt=1, evidence="alive"),
    ]
    return [*start, *signals, reaped(), ev.AgentCompleted(attempt=1)]


def fill(place: Path, size: int) -> int:
    """Append so many events of agents that have ended, in all; the log's last position."""
    home = Home(place)
    with EventStore.open(
        f"sqlite:///{home.database}",
        home=home.prepare().id,
        host="x",
        inline=[AgentsProjection()],
        head=home.head,
    ) as store:
        for number in range(AGENTS):
            events: list[ev.Event] = [spawning(name=f"agent-{number}")]
            events += life(size // AGENTS)
            batch = Batch(
                stream=f"{STREAM_PREFIX}{number:016x}",
                events=[new(event, at=1_700_000_000_000_000) for event in events],
                expected_version=0,
            )
            store.append_many([batch], epoch=None)
        return store.head().position


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [20_000, pytest.param(1_000_000, marks=pytest.mark.faults)])
def test_a_long_log_needs_no_more_memory(home: Path, tally: Tally, size: int) -> None:
    """Each command that goes through all of it stays below the same bound, whatever the number of events."""
    last = fill(home, size)
    assert last >= size
    for words in COMMANDS:
        with (home / "printed").open("w+b") as printed:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, "--home", str(home), *words],
                cwd=ROOT,
                stdout=printed,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        megabytes = int(done.stderr.split()[-1]) // 1024
        assert megabytes < MOST_MEGABYTES, f"{words} took {megabytes} MB"
        tally(f"24 {' '.join(words)} of {size} events", runs=1, peak_MB=megabytes)
    with (home / "printed").open("rb") as printed:
        assert sum(1 for _ in printed) >= last
