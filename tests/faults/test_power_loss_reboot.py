"""After a boot: whatever has a pid of the old boot is a stranger, however like the recorded process it looks."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from manager.process.identity import identify
from tests.faults.attempts import start_and_leave, still_starting
from tests.faults.boots import under_another_boot
from tests.faults.damage import rewrite
from tests.faults.run import Run
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

COUNT = 12
STAGE = (signal.SIGTERM, signal.SIGCONT)


def identity_of(run: Run, agent: str) -> dict[str, Any]:
    """The body of the first attempt's identity.json."""
    content = json.loads((run.home / "agents" / agent / "1" / "identity.json").read_bytes())
    body: dict[str, Any] = content["body"]
    return body


def told_of_signals(run: Run) -> list[list[str]]:
    """What agents and canaries were sent."""
    canaries = run.canaries.read_text().splitlines() if run.canaries.exists() else []
    return run.told_by_agents("SIG") + [line.split() for line in canaries if line.startswith("SIG ")]


@pytest.mark.root
@pytest.mark.parametrize("is_started", [True, False], ids=["running", "starting"])
def test_processes_of_another_boot_get_no_signal(tmp_path: Path, tally: Tally, *, is_started: bool) -> None:
    """Recorded under another boot id, they are told to be gone and never signalled: by no recovery, stop or kill.

    The strangers are the agents themselves, so that pid, start time and pidfd inode are those that were recorded.
    """
    with Run.create(tmp_path, seed=6) as run:
        wanted = [(f"{number}", run.agent(until="tree" if number % 2 else "main")) for number in range(COUNT)]
        ids = start_and_leave(run, wanted, is_started=is_started, under=under_another_boot(run.path))
        names = sorted(ids) if is_started else still_starting(run)
        processes = {agent: identity_of(run, agent) for agent in ids.values()}
        run.fault("reboot", "host")
        with run.manager() as manager:
            assert manager.recovery is not None
            assert manager.recovery.reattached == 0
            assert {manager.status(ids[name]).state for name in names} == {"LOST"}
            manager.stop_many(list(ids.values()))
            manager.kill_all()
        assert run.outlive("kill", *ids.values()).returncode == 0
        assert told_of_signals(run) == []
        assert all(runs(body["pid"]) and runs(body["shim_pid"]) for body in processes.values())
        for agent, body in processes.items():
            run.kill("agent", body["pid"], agent=agent)
        eventually(lambda: not any(runs(body["shim_pid"]) for body in processes.values()), "the shims leave")
        run.judge()
    tally("6 processes of another boot", runs=COUNT)


@pytest.mark.root
def test_a_stop_does_not_go_on_after_a_boot(tmp_path: Path, tally: Tally) -> None:
    """A stop that was under way at a power loss is over: its next stage is for nobody."""
    with Run.create(tmp_path, seed=6) as run:
        coordinator = run.coordinator(under=under_another_boot(run.path))
        stubborn = run.agent("--ignore", "TERM", stop_grace_seconds=(0.5, 0.5, 0.5))
        again = run.agent(restart={"mode": "always", "max_restarts": 1, "backoff_seconds": 0.1})
        agent, restarted = coordinator.spawn(stubborn, again)
        coordinator.ask("stop", agents=[agent], wait=False)
        coordinator.kill()
        eventually(lambda: len(told_of_signals(run)) == len(STAGE), "it is told to end")
        pids = [identity_of(run, one)["pid"] for one in (agent, restarted)]
        run.fault("reboot", "host")
        with run.manager() as manager:
            assert manager.status(agent).state == "LOST"
            eventually(lambda: manager.status(restarted).attempt == 2, "the other is started again")
        with run.manager() as manager:
            assert manager.status(restarted).state in ("SPAWNING", "RUNNING")
        assert all(map(runs, pids))
        assert [words[3] for words in told_of_signals(run)] == [str(int(number)) for number in STAGE]
        for one, pid in zip((agent, restarted), pids, strict=True):
            run.kill("agent", pid, agent=one)
        run.judge()
    tally("6 processes of another boot", runs=2)


@pytest.mark.root
def test_an_identity_that_fits_a_stranger_is_of_another_boot(tmp_path: Path, tally: Tally) -> None:
    """Even where every number of an old identity is that of a process that is there now, it gets no signal."""
    with Run.create(tmp_path, seed=6) as run:
        canary = run.canary()
        eventually(lambda: run.canaries.exists() and run.canaries.read_text(), "the canary sits")
        found = identify(canary.pid)
        assert found is not None
        wanted = [(f"{number}", run.agent()) for number in range(COUNT)]
        ids = start_and_leave(run, wanted, is_started=False, under=under_another_boot(run.path))
        agent = ids[still_starting(run)[0]]
        bodies = {one: identity_of(run, one) for one in ids.values()}
        path = run.home / "agents" / agent / "1" / "identity.json"
        run.fault("reboot", "host")
        rewrite(path, pid=found.pid, start_ticks=found.start_ticks, pidfd_inode=found.pidfd_inode)
        with run.manager() as manager:
            assert manager.status(agent).state == "LOST"
            manager.kill_all()
        assert told_of_signals(run) == []
        assert runs(canary.pid)
        rewrite(path, **bodies[agent])
        for one, body in bodies.items():
            run.kill("agent", body["pid"], agent=one)
        canary.communicate(timeout=30)
        run.judge()
    tally("6 processes of another boot")
