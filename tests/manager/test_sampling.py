"""Samples of living agents: what they use, from a second after a start, whoever is the coordinator."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest
from eventstore.reader import Reader
from eventstore.samples import Sample, samples
from manager import AsyncManager, Manager, vitals
from manager.sampling import Sampling
from manager.thinning import Plan
from tests.support import story
from tests.support.agents import program, python
from tests.support.processes import eventually, runs

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLIVE_SAMPLE_SECONDS", "0.2")


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sampling cost more than it may, so that tests need not wait for it."""
    monkeypatch.setattr("manager.sampling.MOST_SHARE", 1.0)


def taken(manager: Manager, agent: str, number: int) -> list[Sample]:
    """So many samples of an agent, once there are."""

    def look() -> list[Sample]:
        found = manager.samples(agent)
        return found if len(found) >= number else []

    return eventually(look, f"{number} samples of {agent}")


@pytest.mark.usefixtures("busy")
def test_samples_tell_what_an_agent_uses(manager: Manager, home: Path) -> None:
    """Memory that grows is seen to grow, one that computes to use CPU, one that sleeps little; of trees all counts."""
    grows = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(4 << 20))\n    time.sleep(0.2)\n"
    manager.spawn(python(home, grows), "grows")
    manager.spawn(python(home, "while True: pass"), "burns")
    manager.spawn(program(home, "sh", "-c", "sleep 1000 & sleep 1000"), "tree")

    def memory() -> list[int]:
        return [row.memory_bytes or 0 for row in manager.samples("grows")]

    eventually(lambda: memory() and memory()[-1] > memory()[0] + 16 * MEGABYTE, "its memory grows")
    eventually(lambda: any((row.cpu_percent or 0) > 5 for row in manager.samples("burns")), "it computes")
    eventually(
        lambda: (
            (1, 3, 3, 0.0)
            in [(row.attempt, row.processes, row.threads, row.cpu_percent) for row in manager.samples("tree")]
        ),
        "three sleeping processes are seen",
    )
    times = [row.sampled_at for row in manager.samples("grows")]
    assert times == sorted(set(times))
    assert abs(times[-1] / 1e6 - time.time()) < 60
    manager.kill_all()


@pytest.mark.usefixtures("busy")
def test_each_attempt_has_samples_of_its_own(manager: Manager, home: Path) -> None:
    """After a restart the rows carry the new attempt's number; an agent that has ended gets no more."""
    agent = manager.spawn(program(home, "sleep", "1000"), "it")
    taken(manager, "it", 2)
    manager.restart("it")
    eventually(lambda: manager.samples("it", attempt=2), "the second attempt is sampled")
    manager.kill("it")
    ended = manager.status("it").ended_at
    assert ended is not None
    before = manager.samples("it")
    manager.spawn(program(home, "sleep", "1000"), "other")
    taken(manager, "other", 3)
    assert len(manager.samples(agent)) - len(before) <= 1  # one that was being written
    assert {row.attempt for row in manager.samples("it")} == {1, 2}
    manager.kill_all()


def test_an_agent_is_sampled_soon_after_its_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval is long, and yet an attempt that lives for some seconds leaves a sample."""
    monkeypatch.setenv("OUTLIVE_SAMPLE_SECONDS", "86400")
    with Manager.open(home) as manager:
        for number in range(2):
            name = f"agent-{number}"
            manager.spawn(program(home, "sleep", "1000"), name)
            eventually(lambda name=name: manager.samples(name), f"{name} has a sample")  # type: ignore[misc]
        assert len(manager.samples("agent-0")) == 1
        manager.kill_all()


def test_a_command_takes_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that is over within its first second starts no thread for it; nor does any that is told so."""
    started: list[object] = []
    monkeypatch.setattr(Sampling, "_run", lambda *arguments: started.append(arguments))
    monkeypatch.setattr("manager.sampling.FIRST_SECONDS", 3600)
    with Manager.open(home):
        pass
    monkeypatch.setattr("manager.sampling.FIRST_SECONDS", 0)
    monkeypatch.setenv("OUTLIVE_SAMPLE_SECONDS", "0")
    with Manager.open(home) as manager:
        manager.spawn(program(home, "sleep", "1000"), "it")
        assert manager.samples("it") == []
        manager.kill_all()
    assert started == []


def test_a_plan_that_is_none_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and what it may be; the home is free afterwards, and nothing is in its log."""
    monkeypatch.setenv("OUTLIVE_SAMPLE_DAYS", "for ever")
    with pytest.raises(InvalidRequest, match=r"OUTLIVE_SAMPLE_DAYS='for ever'.*unset it"):
        Manager.open(home)
    monkeypatch.delenv("OUTLIVE_SAMPLE_DAYS")
    with Manager.open(home) as manager:
        assert [event.type for event in manager.events()][:1] == ["COORDINATOR_STARTED"]
        assert sum(event.type == "COORDINATOR_STARTED" for event in manager.events()) == 1


_COORDINATOR = """
import sys, time
from pathlib import Path
import manager.sampling
from manager import Manager
from tests.support.agents import program
manager.sampling.MOST_SHARE = 1.0
home = Path(sys.argv[1])
with Manager.open(home) as opened:
    opened.ensure("it", program(home, "sleep", "1000"))
    time.sleep(1000)
"""


def test_the_next_coordinator_goes_on(home: Path) -> None:
    """One that is killed in the middle of sampling leaves a whole log; the next one's samples follow."""
    count = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", _COORDINATOR, str(home)],
            env={**os.environ, "PYTHONPATH": str(story.ROOT)},
            cwd=story.ROOT,
        )
        try:
            eventually(lambda: _rows(home) > count + 1, "it takes samples")  # noqa: B023
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        count = _rows(home)
    with Manager.open(home) as manager:
        assert manager.status("it").attempt == 1
        taken(manager, "it", count + 1)
        assert manager._view.reader.verify().is_intact
        manager.kill_all()


def _rows(home: Path) -> int:
    path = home / "events.db"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM samples").fetchone()[0])
    except sqlite3.OperationalError:  # its tables are being made
        return 0


@pytest.mark.usefixtures("busy")
def test_a_log_that_is_held_by_another(manager: Manager, home: Path) -> None:
    """Samples of that time are missing, nothing else is: the end of an agent is recorded, and sampling goes on."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    manager.spawn(program(home, "sh", "-c", "sleep 2; exit 7"), "ends")
    taken(manager, "it", 2)
    pid = manager.status("ends").pid or 0
    with closing(sqlite3.connect(home / "events.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        eventually(lambda: not runs(pid), "one ends meanwhile")
        before = len(manager.samples("it"))
        stranger.execute("ROLLBACK")
    assert manager.wait("ends", timeout=60).exit is not None
    assert (status := manager.status("ends").exit) is not None
    assert status.code == 7
    taken(manager, "it", before + 3)
    manager.kill_all()


@pytest.mark.usefixtures("busy")
def test_closing_ends_the_thread(home: Path) -> None:
    """Nothing of it is left, however often a home is opened; what a forked child closes is not ours."""
    for _ in range(2):
        with Manager.open(home) as manager:
            manager.ensure("it", program(home, "sleep", "1000"))
            taken(manager, "it", 1)
            eventually(lambda: "outlive-sampling" in _threads(), "it samples")
        assert "outlive-sampling" not in _threads()
    with Manager.open(home) as manager:
        manager.kill_all()


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_the_asynchronous_manager_has_them_too(home: Path) -> None:
    """The same rows."""

    async def look() -> list[Sample]:
        async with await AsyncManager.open(home) as manager:
            await manager.spawn(program(home, "sleep", "1000"), "it")
            found: list[Sample] = []
            async with asyncio.timeout(30):
                while not found:
                    found = await manager.samples("it", attempt=1)
                    await asyncio.sleep(0.05)
            await manager.kill_all()
            return found

    found = asyncio.run(look())
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        assert samples(reader, found[0].agent_id)[0] == found[0]


def test_a_young_process_seemed_to_use_little(home: Path) -> None:
    """What it used is divided by the time that it has lived, not by all the time since the look before."""
    burner = subprocess.Popen(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass\ntime.sleep(1000)"]
    )
    try:
        eventually(lambda: vitals.memory_and_cpu(burner.pid)[1] >= 0.4, "it computes")
        sampler = vitals.Sampler()
        sampler.sample([vitals.Target(burner.pid, None)])
        long_ago = sampler._looks[0]._replace(at=time.monotonic() - 1e6, processes={}, children={})
        sampler._looks = [long_ago]
        [seen] = sampler.sample([vitals.Target(burner.pid, None)])
        assert (seen.cpu_percent or 0) > 0.5  # over a million seconds it would be nothing
    finally:
        burner.kill()
        burner.wait()


def test_the_last_sample_was_of_a_process_without_memory(manager: Manager, home: Path) -> None:
    """One that was caught between giving its memory back and being a zombie seemed to have used none."""
    agent = manager.spawn(program(home, "sleep", "1000"), "it")
    taken(manager, "it", 1)
    sampling = Sampling(manager._coordinator.store, Plan())
    [alive] = sampling._sampler.sample([vitals.Target(agent.pid or 0, None)])
    ends = replace(alive, memory_bytes=0)
    sampling._sampler.sample = lambda targets: [ends for _ in targets]  # type: ignore[method-assign]
    sampling.sweep(manager._coordinator.ledger.states.copy())
    assert all(sample.memory_bytes for sample in manager.samples("it"))


def test_sampling_pauses_the_longer_the_more_it_costs(manager: Manager) -> None:
    """It takes 0.1 % of one core at the most: after a sweep of 30 ms it pauses for half a minute."""
    waited: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return len(waited) > 3

    sampling = Sampling(manager._coordinator.store, Plan())
    sampling._stop = Stop()

    def sweep(_states: object) -> None:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass

    sampling.sweep = sweep  # type: ignore[method-assign,assignment]
    sampling._run(manager._coordinator.supervisor)
    assert waited[0] == 0
    assert min(waited[1:]) >= 30
