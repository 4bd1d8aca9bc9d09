"""Limits of real agents: hogs are stopped with the figures on record, and nobody else notices."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from manager import Limits, Manager, RestartPolicy
from manager.door import open_door
from tests.support.agents import QUICK, data, python, shell, types
from tests.support.processes import eventually, runs
from tests.support.promises import living

MB = 1 << 20
BURNS = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"
ALLOCATES = "import time; eaten = bytearray(96 << 20); time.sleep(300)"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"

HOGS: dict[str, tuple[Limits, str]] = {
    "memory": (Limits(memory_bytes=64 * MB), r"its tree used \d+M of memory, its limit is 64\.0M"),
    "processes": (Limits(processes=5), r"its tree had \d+ processes, its limit is 5"),
    "cpu": (Limits(cpu_seconds=0.5), r"its tree used \S+s of CPU time, its limit is \S+s"),
    "wall": (Limits(wall_seconds=1.5), r"it ran for \S+s, its limit is 1\.5s"),
}


def _hog(home: Path, name: str, **more: Any) -> Any:
    limits, _ = HOGS[name]
    more = {"limits": limits, **more}
    match name:
        case "memory":  # in a child of a child: the tree counts
            return shell(home, f"sh -c 'python3 -I -S -c \"{ALLOCATES}\"; true'; true", **more)
        case "processes":
            return shell(home, "for i in 1 2 3 4 5 6; do sleep 300 & done; wait", **more)
        case "cpu":  # by children that end: what they used stays used
            return shell(home, f"while :; do sh -c '{BURNS}'; done", **more)
        case _:
            return shell(home, "exec sleep 300", **more)


def test_hogs_are_stopped_and_nobody_else(manager: Manager, home: Path) -> None:
    """Each limit by an agent that passes it for real: stopped, FAILED with both figures, and its tree is gone."""
    roomy = Limits(wall_seconds=3600, memory_bytes=1 << 40, processes=1000, cpu_seconds=3600)
    modest = manager.spawn(shell(home, "while :; do sleep 0.05; done", limits=roomy), "modest")
    free = manager.spawn(shell(home, "exec sleep 300"), "free")
    manager.spawn_many([(name, _hog(home, name)) for name in HOGS])
    for name, (_, told) in HOGS.items():
        ended = manager.wait(name, timeout=120)
        assert (ended.state, ended.cause) == ("FAILED", "limit")
        assert re.fullmatch(told, ended.message or ""), ended.message
        order = next(event for event in manager.events(agent=name) if event.type == "STOP_REQUESTED")
        assert (order.actor, order.as_json()["data"]["cause"]) == ("coordinator", "limit")
        assert order.as_json()["data"]["reason"] == ended.message
        assert data(manager, name, "SIGTERM_SENT")[0]["stage"] == 1
    for other in (modest, free):
        status = manager.status(other)
        assert (status.state, status.attempt, status.is_alive) == ("RUNNING", 1, True)
    assert {modest.pid, free.pid} <= {pid for pid, _ in living(home)}


def test_why_names_limit_figure_and_evidence(manager: Manager, home: Path) -> None:
    """The cause is certain; the order with its figures, and what was allowed, are named by their positions."""
    manager.spawn(_hog(home, "processes"), "it")
    manager.wait("it", timeout=60)
    found = manager.why("it")
    assert (found.verdict.cause, found.verdict.certainty) == ("limit", "certain")
    assert found.verdict.message in {one.reason for one in found.asked}
    types_at = {entry.position: entry.type for entry in found.events}
    told = {types_at[one.positions[0]]: one.text for one in found.verdict.evidence if one.positions}
    assert (found.verdict.message or "?") in told["STOP_REQUESTED"]
    assert "5 processes" in told["SPAWNING"]


def test_the_last_sample_before_the_stop_is_evidence(manager: Manager, home: Path) -> None:
    """Where samples were taken, the last one says what it used shortly before."""
    manager.spawn(shell(home, "exec sleep 300", limits=Limits(wall_seconds=4)), "it")
    eventually(lambda: manager.samples("it"), "it is sampled")
    manager.wait("it", timeout=60)
    texts = [one.text for one in manager.why("it").verdict.evidence if one.source == "look"]
    assert len(texts) == 1
    assert re.search(r"the last sample, \S+ before the stop: \S+ of memory, 1 process", texts[0]), texts


def test_a_limit_is_a_failure_to_its_restart_policy(manager: Manager, home: Path) -> None:
    """Each attempt has its time anew, until the budget is spent."""
    rule = RestartPolicy(mode="on-failure", backoff_seconds=0.1, max_restarts=1)
    manager.spawn(_hog(home, "wall", limits=Limits(wall_seconds=0.6), restart=rule), "it")
    ended = manager.wait("it", timeout=60)
    assert (ended.state, ended.cause, ended.attempt) == ("FAILED", "limit", 2)
    assert types(manager, "it").count("STOP_REQUESTED") == 2
    assert types(manager, "it")[-1] == "RESTART_GIVEN_UP"


def test_what_ignores_sigterm_is_killed_and_still_failed(manager: Manager, home: Path) -> None:
    """The three stages of a stop, with the waits of its spec; the limit stays why."""
    spec = shell(home, STUBBORN, limits=Limits(wall_seconds=0.5), stop_grace_seconds=QUICK)
    ended = manager.wait(manager.spawn(spec, "it"), timeout=60)
    assert (ended.state, ended.cause) == ("FAILED", "limit")
    assert [kind for kind in types(manager, "it") if kind.startswith("SIG")] == [
        "SIGTERM_SENT",
        "SIGTERM_SENT",
        "SIGKILL_SENT",
    ]


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_an_agent_came_back_that_was_stopped_while_its_limit_stopped_it(
    manager: Manager, home: Path, verb: str
) -> None:
    """Somebody wanted it gone: no policy starts it again. The limit stays why it failed, with its figures."""
    rule, grace = RestartPolicy(mode="always", backoff_seconds=0.0), (2.0, 0.3, 20.0)
    spec = shell(home, STUBBORN, limits=Limits(wall_seconds=0.5), restart=rule, stop_grace_seconds=grace)
    manager.spawn(spec, "it")
    eventually(lambda: manager.status("it").state == "STOPPING", "its limit stops it")
    ended = manager.stop("it", reason="enough") if verb == "stop" else manager.kill("it", reason="enough")
    assert (ended.state, ended.cause, ended.attempt) == ("FAILED", "limit", 1)
    assert ended.message == data(manager, "it", "STOP_REQUESTED")[0]["reason"]
    assert types(manager, "it")[-1] == "FAILED"


def test_time_goes_on_while_no_coordinator_is_there(home: Path) -> None:
    """The next one stops what is overdue at once; a command that ends agents does so in its own name."""
    with Manager.open(home) as manager:
        for name in ("overdue", "stopped"):
            manager.spawn(shell(home, "exec sleep 300", limits=Limits(wall_seconds=2)), name)
    eventually(lambda: _has_run(home, "stopped", 2.0), "both are overdue")
    with open_door(home, None, actor="test") as door:
        assert [one.state for one in door.stop(["stopped"])] == ["CANCELLED"]
    with Manager.open(home) as manager:
        ended = manager.wait("overdue", timeout=60)
        assert (ended.state, ended.cause) == ("FAILED", "limit")
        assert manager.status("stopped").cause == "user"


def _has_run(home: Path, name: str, seconds: float) -> bool:
    from manager.view import View, database_url

    view = View.open(home, database_url(home, None))
    try:
        status = view.agent(name)
        assert status.pid is not None
        assert runs(status.pid)
        return (status.runtime_seconds or 0) > seconds
    finally:
        view.close()


def test_an_agent_failed_by_a_limit_that_had_ended_before_it(manager: Manager, home: Path) -> None:
    """Its end was still to be recorded when its time was up: it is told as it was, and no stop was ordered."""
    manager.spawn(shell(home, "sleep 0.5; exit 0", limits=Limits(wall_seconds=1.5)), "it")
    shim = int(data(manager, "it", "STARTED")[0]["process"]["shim_pid"])
    os.kill(shim, signal.SIGSTOP)
    try:
        began = time.monotonic()
        eventually(lambda: time.monotonic() > began + 2.0, "its time is up")
    finally:
        os.kill(shim, signal.SIGCONT)
    assert manager.wait("it", timeout=60).state == "COMPLETED"
    assert "STOP_REQUESTED" not in types(manager, "it")


def test_agents_without_limits_cost_no_looks(manager: Manager, home: Path) -> None:
    """A timer for looks is there while a limited agent runs, and only then."""
    rules = manager._coordinator.supervisor.rules
    manager.spawn(shell(home, "exec sleep 300"), "free")
    manager.spawn(shell(home, "exec sleep 300", limits=Limits(wall_seconds=600)), "timed")
    assert rules._next_look is None
    manager.spawn(shell(home, "exec sleep 300", limits=Limits(processes=10)), "limited")
    assert rules._next_look is not None
    manager.stop("limited")
    eventually(lambda: rules._next_look is None, "the looks end")


def test_the_clock_is_set_back_and_a_limit_of_time_holds(
    manager: Manager, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one coordinator time is measured by a clock that nobody sets."""
    supervisor = manager._coordinator.supervisor
    monkeypatch.setattr(supervisor.rules, "_clock", lambda: time.time_ns() // 1000 - 10**12)
    manager.spawn(_hog(home, "wall"), "it")
    ended = manager.wait("it", timeout=60)
    assert (ended.state, ended.cause, ended.message) == (
        "FAILED",
        "limit",
        "it ran for 1.5s, its limit is 1.5s",
    )


def test_python_hog_of_its_own(manager: Manager, home: Path) -> None:
    """Memory of the main process itself counts as that of its tree."""
    manager.spawn(python(home, ALLOCATES, limits=Limits(memory_bytes=32 * MB)), "it")
    assert manager.wait("it", timeout=60).cause == "limit"
