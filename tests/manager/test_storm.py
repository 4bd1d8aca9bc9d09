"""A storm: a busy coordinator, killed again and again at random times, and its launchers and shims with it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventstore.events import AgentLost, ZombieReaped
from eventstore.values import ExitedBySignal, ExitedWithCode, ExitUnknown
from manager import Manager
from manager.process import procfs
from tests.support import story
from tests.support.processes import eventually, runs
from tests.support.promises import ledger, living, log_is_whole, no_attempt_ran_twice, our_environment
from tests.support.stormy import QUICK_CODE

KILLS = int(os.environ.get("STORM_KILLS", "20"))  # a night's worth: STORM_KILLS=10000


@pytest.mark.timeout(120 + 4 * KILLS)
@pytest.mark.parametrize("takes_helpers", [False, True], ids=["coordinator", "all of ours"])
def test_a_storm_of_kills(home: Path, takes_helpers: bool) -> None:
    """Whatever it was at: nothing runs twice, nothing is guessed, nothing is forgotten, nothing is left."""
    chance = random.Random(f"{KILLS} {takes_helpers}")
    for number in range(KILLS):
        _kill_one(home, number, chance, takes_helpers=takes_helpers and number % 3 == 0)
    with Manager.open(home) as manager:
        eventually(lambda: not _unsettled(manager), "every agent ends or runs", seconds=60)
        no_attempt_ran_twice(home, manager)
        _exits_are_true(home, manager, may_be_unknown=takes_helpers)
        by_id = {status.id: status for status in manager.statuses(all=True)}
        assert len(by_id) > KILLS / 4, "the storm did next to nothing"
        for _, agent_id in living(home):
            assert not by_id[agent_id].is_final or takes_helpers, by_id[agent_id]
        for status in by_id.values():
            if status.state == "RUNNING":
                assert runs(status.pid or 0), status
        log_is_whole(manager)
        manager.kill_all()
        assert takes_helpers or list(living(home)) == []
        log_is_whole(manager)


def _kill_one(home: Path, seed: int, chance: random.Random, *, takes_helpers: bool) -> None:
    busy = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stormy", str(home), str(seed)],
        env=our_environment(),
        cwd=story.ROOT,
        stderr=subprocess.PIPE,
    )
    time.sleep(chance.uniform(0.3, 1.6))  # the fault's time: from its imports to its tenth order
    assert busy.poll() is None, busy.communicate()[1].decode()
    helpers = _helpers(home) if takes_helpers else []
    busy.kill()
    for pid in helpers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    busy.communicate()


def _helpers(home: Path) -> list[int]:
    """Launchers and shims: the parents of this home's agents, and the parents of those."""
    found = set()
    for pid, _ in living(home):
        stat = procfs.read_stat(pid)
        for _ in range(3):
            stat = procfs.read_stat(stat.parent) if stat is not None else None
            if stat is not None and stat.comm.startswith("outlive-"):
                found.add(stat.pid)
    return sorted(found)


def _unsettled(manager: Manager) -> list[str]:
    return [
        f"{status.name} {status.state}"
        for status in manager.statuses(all=True)
        if not status.is_final
        and (status.state != "RUNNING" or any(f"exit {QUICK_CODE}" in part for part in status.command))
    ]


def _exits_are_true(home: Path, manager: Manager, *, may_be_unknown: bool) -> None:
    ran = {(told.agent_id, told.attempt) for told in ledger(home)}
    started = {(e.stream.partition("/")[2], e.attempt) for e in manager.events() if e.type == "STARTED"}
    assert may_be_unknown or ran <= started, "it ran, and counts as never started"
    for recorded in manager.events():
        event, who = recorded.event, (recorded.stream.partition("/")[2], recorded.attempt)
        if isinstance(event, AgentLost):
            assert may_be_unknown, event
        if not isinstance(event, ZombieReaped):
            continue
        match event.exit:
            case ExitedWithCode(code=code):
                assert code in (0, QUICK_CODE), event
                assert who in ran, "an exit code of a program that never ran"
            case ExitedBySignal(signal=number):
                assert number in (9, 15), event
            case ExitUnknown(reason=reason):
                assert may_be_unknown, event
                assert reason
