"""Silence of real agents: what has written nothing for too long is stopped, and nobody else notices."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from manager import HealthRule, Limits, Manager, RestartPolicy
from manager.door import open_door
from tests.manager.test_stop_marks import another_process
from tests.support.agents import data, shell, types
from tests.support.processes import eventually, runs
from tests.support.promises import living
from tests.support.small_disks import Disk

SHORT = HealthRule(silence_seconds=1.5)
TOLD = r"it has written nothing for \S+s, its limit is 1\.5s"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def _silent(home: Path, **more: Any) -> Any:
    return shell(home, "echo begun; exec sleep 300", **{"health": SHORT, **more})


def test_a_silent_agent_is_stopped_and_nobody_else(manager: Manager, home: Path) -> None:
    """One that writes now and then is left alone, whatever it writes to; so is one without a rule, or with time."""
    talks = "while :; do echo x{}; sleep 0.3; done"
    patient = HealthRule(silence_seconds=3600)
    others = manager.spawn_many(
        [
            ("stdout", shell(home, talks.format(""), health=SHORT)),
            ("stderr", shell(home, talks.format(" >&2"), health=SHORT)),
            ("child", shell(home, f"({talks.format('')}) & wait", health=SHORT)),
            ("patient", shell(home, "exec sleep 300", health=patient)),
            ("free", shell(home, "exec sleep 300")),
        ]
    )
    for name in (
        "first",
        "second",
    ):  # a second time: the others have had all the time they need to be found silent
        manager.spawn(_silent(home), name)
        ended = manager.wait(name, timeout=120)
        assert (ended.state, ended.cause, ended.health) == ("FAILED", "health", "unhealthy")
        assert re.fullmatch(TOLD, ended.message or ""), ended.message
    assert {manager.status(one).state for one in others} == {"RUNNING"}
    assert {one.pid for one in others} <= {pid for pid, _ in living(home)}


def test_the_order_and_its_evidence_are_one_commit(manager: Manager, home: Path) -> None:
    """HEALTH_CHANGED says what was seen, STOP_REQUESTED follows from it; the coordinator did both."""
    manager.spawn(_silent(home), "it")
    ended = manager.wait("it", timeout=60)
    found = {event.type: event for event in manager.events(agent="it")}
    change, order = found["HEALTH_CHANGED"], found["STOP_REQUESTED"]
    assert (order.actor, change.actor) == ("coordinator", "coordinator")
    assert order.recorded_at == change.recorded_at
    assert data(manager, "it", "STOP_REQUESTED")[0]["cause"] == "health"
    assert data(manager, "it", "STOP_REQUESTED")[0]["reason"] == ended.message
    evidence = data(manager, "it", "HEALTH_CHANGED")[0]["evidence"]
    assert re.fullmatch(TOLD + r"; its last output was at 20\S+Z", evidence), evidence


def test_why_names_rule_figure_and_last_output(manager: Manager, home: Path) -> None:
    """The cause is certain; order, rule and last output are named by their positions."""
    manager.spawn(_silent(home), "it")
    manager.wait("it", timeout=60)
    found = manager.why("it")
    assert (found.verdict.cause, found.verdict.certainty) == ("health", "certain")
    types_at = {entry.position: entry.type for entry in found.events}
    told = {types_at[one.positions[0]]: one.text for one in found.verdict.evidence if one.positions}
    assert (found.verdict.message or "?") in told["STOP_REQUESTED"]
    assert "1.5s of silence at most" in told["SPAWNING"]
    assert "its last output was at 20" in told["HEALTH_CHANGED"]


def test_silence_is_a_failure_to_its_restart_policy(manager: Manager, home: Path) -> None:
    """Each attempt has its time anew, until the budget is spent."""
    rule = RestartPolicy(mode="on-failure", backoff_seconds=0.1, max_restarts=1)
    manager.spawn(_silent(home, restart=rule), "it")
    ended = manager.wait("it", timeout=60)
    assert (ended.state, ended.cause, ended.attempt) == ("FAILED", "health", 2)
    assert types(manager, "it").count("HEALTH_CHANGED") == types(manager, "it").count("STOP_REQUESTED") == 2
    assert types(manager, "it")[-1] == "RESTART_GIVEN_UP"


def test_what_hangs_and_ignores_sigterm_is_killed(manager: Manager, home: Path) -> None:
    """The three stages of a stop, with the waits of its spec; its silence stays why; it is not called healthy."""
    manager.spawn(shell(home, STUBBORN, health=SHORT, stop_grace_seconds=(3.0, 0.3, 20.0)), "it")
    eventually(lambda: manager.status("it").state == "STOPPING", "its silence stops it")
    check = manager.health("it")
    assert (check.state, check.health, manager.status("it").health) == ("STOPPING", "unhealthy", "unhealthy")
    assert re.fullmatch(TOLD, check.why), check.why
    ended = manager.wait("it", timeout=60)
    assert (ended.state, ended.cause) == ("FAILED", "health")
    assert [kind for kind in types(manager, "it") if kind.startswith("SIG")] == [
        "SIGTERM_SENT",
        "SIGTERM_SENT",
        "SIGKILL_SENT",
    ]


def test_an_agent_that_is_being_stopped_is_left_alone(manager: Manager, home: Path) -> None:
    """Somebody stops it, and it takes long: its silence meanwhile orders nothing, and is not why it ended."""
    manager.spawn(shell(home, STUBBORN, health=SHORT, stop_grace_seconds=(3.0, 0.3, 20.0)), "it")
    assert manager.stop("it").state == "KILLED"
    assert types(manager, "it").count("STOP_REQUESTED") == 1
    assert "HEALTH_CHANGED" not in types(manager, "it")


def test_what_is_silent_in_its_start_window_is_stopped(manager: Manager, home: Path) -> None:
    """It counts from its start, and not from when it was found to run."""
    spec = _silent(home, start_window_seconds=600)
    ended = manager.wait(manager.spawn(spec, "it", wait=False), timeout=60)
    assert (ended.state, ended.cause) == ("FAILED", "health")


def test_silence_goes_on_while_no_coordinator_is_there(home: Path) -> None:
    """The next one stops what is overdue; a command that ends agents does so in its own name."""
    with Manager.open(home) as manager:
        for name in ("overdue", "stopped"):
            manager.spawn(_silent(home), name)
        log = home / manager.status("stopped").directory / "stdout.log"
    eventually(lambda: time.time() - log.stat().st_mtime > 1.6, "both are overdue")
    with open_door(home, None, actor="test") as door:
        assert [one.state for one in door.stop(["stopped"])] == ["CANCELLED"]
    with Manager.open(home) as manager:
        ended = manager.wait("overdue", timeout=60)
        assert (ended.state, ended.cause) == ("FAILED", "health")
        assert manager.status("stopped").cause == "user"


def test_output_that_is_truncated_or_removed(manager: Manager, home: Path) -> None:
    """A smaller file is a change; one that is gone is no output, whatever is written to it."""
    wide = HealthRule(silence_seconds=3)
    manager.spawn(shell(home, "while :; do echo on; sleep 0.1; done", health=wide), "removed")
    (home / manager.status("removed").directory / "stdout.log").unlink()
    silent = manager.spawn(shell(home, "echo begun; exec sleep 300", health=wide), "silent")
    cut = home / silent.directory / "stdout.log"
    eventually(lambda: time.time() - cut.stat().st_mtime > 2, "it is silent for most of its time")
    cut.write_bytes(b"")
    assert manager.wait("removed", timeout=60).cause == "health"
    assert manager.wait("silent", timeout=60).cause == "health"
    (evidence,) = (one["evidence"] for one in data(manager, "silent", "HEALTH_CHANGED"))
    assert evidence.endswith("; there is no output of it")
    ran = manager.status("silent").runtime_seconds
    assert ran is not None
    assert ran > 4.5, "its time began anew when its output was cut"


@pytest.mark.parametrize("by_seconds", [-(10**6), 10**6])
def test_the_clock_is_set_and_silence_is_measured_all_the_same(
    manager: Manager, home: Path, monkeypatch: pytest.MonkeyPatch, by_seconds: int
) -> None:
    """Within one coordinator it goes by a clock that nobody sets: one that writes is not stopped, a silent one is."""
    rules = manager._coordinator.supervisor.rules
    talks = manager.spawn(shell(home, "while :; do echo on; sleep 0.2; done", health=SHORT), "talks")
    manager.spawn(_silent(home), "it")
    eventually(lambda: manager._coordinator.supervisor.attached[talks.id].heard, "it was looked at")
    monkeypatch.setattr(rules, "_clock", lambda: time.time_ns() // 1000 + by_seconds * 10**6)
    assert manager.wait("it", timeout=60).cause == "health"
    seen = manager._coordinator.supervisor.attached[talks.id].heard
    eventually(lambda: manager._coordinator.supervisor.attached[talks.id].heard is not seen, "looked again")
    assert manager.status("talks").state == "RUNNING"


def test_looks_at_output_are_seldom(manager: Manager, home: Path) -> None:
    """None without a rule, and none before the silence of one could be too long."""
    supervisor = manager._coordinator.supervisor
    free = manager.spawn(shell(home, "exec sleep 300", limits=Limits(wall_seconds=600)), "free")
    ruled = manager.spawn(shell(home, "exec sleep 300", health=HealthRule(silence_seconds=600)), "ruled")
    eventually(lambda: supervisor.attached[ruled.id].heard, "it was looked at")
    timers = supervisor.attached[ruled.id]._timers
    assert timers["silence"].when() > manager._coordinator._loop.time() + 500
    assert supervisor.attached[free.id].heard is None
    assert "silence" not in supervisor.attached[free.id]._timers
    assert supervisor.rules._next_look is None


@pytest.mark.root
@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
def test_silence_on_a_full_disk(disk: Disk) -> None:
    """It is stopped although that cannot be recorded, and the log is caught up, in order, when it can be."""
    home = disk.path / "home"
    with Manager.open(home) as manager:
        pid = manager.spawn(_silent(home), "it").pid or 0
        empty = disk.fill()
        eventually(lambda: not runs(pid), "its silence stops it")
        empty()
        eventually(lambda: manager.status("it").is_final, "the log is caught up")
        assert types(manager, "it")[3:] == [
            "HEALTH_CHANGED",
            "STOP_REQUESTED",
            "SIGTERM_SENT",
            "ZOMBIE_REAPED",
            "FAILED",
        ]
        assert manager.status("it").cause == "health"


@pytest.mark.root
@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
def test_a_stop_for_silence_on_a_full_disk_and_the_end_of_its_coordinator(disk: Disk) -> None:
    """The mark of the signal says why: the next coordinator records that, and follows the restart policy."""
    home = disk.path / "home"
    rule = RestartPolicy(mode="on-failure", backoff_seconds=0.1, max_restarts=1)
    with Manager.open(home) as manager:
        pid = manager.spawn(_silent(home, restart=rule, health=HealthRule(silence_seconds=3)), "it").pid or 0
    with another_process(home):
        empty = disk.fill()
        eventually(lambda: not runs(pid), "its silence stops it")
    empty()
    with Manager.open(home) as manager:
        ended = manager.wait("it", timeout=60)
        assert (ended.state, ended.cause, ended.attempt) == ("FAILED", "health", 2)
        assert all("written nothing" in one["reason"] for one in data(manager, "it", "STOP_REQUESTED"))
