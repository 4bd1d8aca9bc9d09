"""Another attempt: by hand, or by a policy with its delays and its budget."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest, NameInUse, UnknownAgent
from eventstore.store import now_microseconds
from manager import Manager, RestartPolicy, StartFailed
from manager.commands import RequestStop, SendSignal
from manager.deadlines import until_next_attempt
from manager.door import open_door
from manager.origin import Origin
from projections.sentences import sentence
from tests.support.agents import data, program, python, shell, types
from tests.support.processes import eventually, runs
from tests.support.promises import living


def test_restart_of_a_running_agent(manager: Manager, home: Path) -> None:
    """`restart` stops it and starts its next attempt with the same program, environment and directory."""
    spec = shell(home, 'echo "$COLOUR $OUTLIVE_ATTEMPT"; sleep 1000', env={"COLOUR": "red"})
    first = manager.spawn(spec, "it")
    second = manager.restart("it", reason="new settings")
    assert (second.id, second.attempt, second.state) == (first.id, 2, "RUNNING")
    assert second.pid != first.pid
    assert first.pid is not None
    assert not runs(first.pid)
    said = [(home / "agents" / first.id / attempt / "stdout.log").read_text() for attempt in ("1", "2")]
    assert said == ["red 1\n", "red 2\n"]
    assert data(manager, "it", "STOP_REQUESTED")[0]["cause"] == "restart"


def test_restart_of_an_ended_agent(manager: Manager, home: Path) -> None:
    """What has ended starts again under its id; its earlier attempt stays on record."""
    manager.wait(manager.spawn(shell(home, "sleep 0.3; exit 3"), "it"))
    again = manager.restart("it")
    assert (again.attempt, again.state) == (2, "RUNNING")
    assert manager.wait("it").exit is not None
    assert types(manager, "it").count("ZOMBIE_REAPED") == 2
    with pytest.raises(UnknownAgent):
        manager.restart("nobody")


def test_restart_of_a_name_that_is_taken(manager: Manager, home: Path) -> None:
    """An old agent cannot come back while a new one has its name."""
    old = manager.wait(manager.spawn(program(home, "true"), "job"))
    manager.spawn(program(home, "sleep", "1000"), "job")
    with pytest.raises(NameInUse):
        manager.restart(old.id)
    assert len(list(living(home))) == 1


def test_a_restart_that_fails_says_so(manager: Manager, home: Path, tmp_path: Path) -> None:
    """The program may be gone by now."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nsleep 0.3\n")
    tool.chmod(0o755)
    manager.wait(manager.spawn(program(home, str(tool)), "it"))
    tool.unlink()
    with pytest.raises(StartFailed):
        manager.restart("it")
    assert manager.status("it").attempt == 2


def _policy(**changes: object) -> RestartPolicy:
    return RestartPolicy.model_validate({"mode": "on-failure", "backoff_seconds": 0.2, **changes})


def test_on_failure_until_the_budget_is_spent(manager: Manager, home: Path) -> None:
    """Two restarts, each after twice the delay before, then RESTART_GIVEN_UP; the log says when and why."""
    manager.spawn(shell(home, "sleep 0.2; exit 1", restart=_policy(max_restarts=2)), "it")
    status = manager.wait("it", timeout=60)
    assert (status.attempt, status.state, status.restarts_used) == (3, "FAILED", 2)
    assert [d["delay_seconds"] for d in data(manager, "it", "RESTART_SCHEDULED")] == [0.2, 0.4]
    assert types(manager, "it")[-1] == "RESTART_GIVEN_UP"
    starts = [event.occurred_at for event in manager.events(agent="it") if event.type == "SPAWNING"]
    dues = [
        event.as_json()["data"]["due_at"]
        for event in manager.events(agent="it")
        if event.type == "RESTART_SCHEDULED"
    ]
    assert all(start >= due for start, due in zip(starts[1:], dues, strict=True))


def test_success_ends_an_on_failure_policy(manager: Manager, home: Path, tmp_path: Path) -> None:
    """Failed once, then succeeded: COMPLETED, and no third attempt."""
    script = f"sleep 0.2; test -e {tmp_path}/been && exit 0; touch {tmp_path}/been; exit 1"
    manager.spawn(shell(home, script, restart=_policy()), "it")
    status = manager.wait("it", timeout=60)
    assert (status.attempt, status.state) == (2, "COMPLETED")


def test_what_was_stopped_stays_stopped(manager: Manager, home: Path) -> None:
    """Nobody is surprised by an agent that comes back after `stop` or `kill`, during a back-off neither."""
    manager.spawn(shell(home, "sleep 1000", restart=RestartPolicy.always()), "stopped")
    assert manager.stop("stopped").state == "CANCELLED"
    manager.spawn(shell(home, "sleep 1000", restart=RestartPolicy.always()), "killed")
    assert manager.kill("killed").state == "KILLED"
    manager.spawn(
        shell(home, "sleep 0.2; exit 1", restart=_policy(backoff_seconds=600.0, backoff_limit_seconds=600.0)),
        "waiting",
    )
    eventually(lambda: manager.status("waiting").state == "BACKOFF", "the back-off begins")
    assert manager.stop("waiting").state == "CANCELLED"
    assert [manager.status(name).attempt for name in ("stopped", "killed", "waiting")] == [1, 1, 1]


def test_restart_does_not_wait_for_the_back_off(manager: Manager, home: Path) -> None:
    """A person who asks for it now gets it now."""
    spec = shell(
        home, "sleep 0.3; exit 1", restart=_policy(backoff_seconds=600.0, backoff_limit_seconds=600.0)
    )
    manager.spawn(spec, "it")
    eventually(lambda: manager.status("it").state == "BACKOFF", "the back-off begins")
    assert manager.restart("it").attempt == 2


def test_what_fell_due_while_nobody_was_there(home: Path) -> None:
    """An attempt that was due, and an end that nobody saw, are dealt with by the next coordinator, once."""
    spec = shell(home, "sleep 0.4; exit 1", restart=_policy(backoff_seconds=0.5, max_restarts=1))
    with Manager.open(home) as manager:
        manager.spawn(spec, "early")
        eventually(lambda: manager.status("early").state == "BACKOFF", "the back-off begins")
        late = manager.spawn(spec, "late")
        due = data(manager, "early", "RESTART_SCHEDULED")[0]["due_at"]
    assert late.pid is not None
    eventually(lambda: time.time() * 1e6 > due, "the first is due")
    eventually(lambda: not runs(late.pid or 0), "it ends while nobody watches")
    with Manager.open(home) as manager:
        statuses = manager.wait_many(["early", "late"], timeout=60)
        assert [(status.attempt, status.state) for status in statuses] == [(2, "FAILED"), (2, "FAILED")]
        for name in ("early", "late"):
            assert types(manager, name).count("SPAWNING") == 2
        assert manager.recovery is not None
        assert manager.recovery.due_attempts >= 1
        told = [sentence(event.type, json.loads(event.data)) for event in manager.events()]
    # The one that waited when the first coordinator left was not "left running", nor was there "nothing to do" for it.
    assert "coordinator stopped, 2 agents left running" not in told
    assert [text for text in told if text.startswith("recovery in")][-1].endswith("started again, being due")


NAMES = ("stopped", "killed", "other", "again")


def test_a_command_that_ends_agents_started_what_was_due(home: Path) -> None:
    """To stop it then: now it starts nothing, of no agent; the next that starts or waits for one goes on with them."""
    go = home.with_name("go")
    ends = f"until [ -e {go} ]; do sleep 0.05; done; exit 1"
    with Manager.open(home) as manager:
        for name in NAMES:
            spec = shell(home, ends, restart=_policy(backoff_seconds=2.0, max_restarts=1))
            manager.spawn(spec, name)
        go.touch()
        for name in NAMES:
            eventually(lambda name=name: manager.status(name).state == "BACKOFF", "the back-off begins")  # type: ignore[misc]
        due = max(data(manager, name, "RESTART_SCHEDULED")[0]["due_at"] for name in NAMES)
    eventually(lambda: time.time() * 1e6 > due, "all are due")
    with open_door(home, None, actor="test") as door:
        with pytest.raises(InvalidRequest, match="it is BACKOFF, no process"):
            door.signal("stopped", 10)
        assert [(one.state, one.attempt) for one in door.stop(["stopped"])] == [("CANCELLED", 1)]
    with open_door(home, None, actor="test") as door:
        assert [(one.state, one.attempt) for one in door.kill(["killed"])] == [("CANCELLED", 1)]
    assert not list(living(home))
    with open_door(home, None, actor="test") as door:
        assert door.restart("again").attempt == 2
    with open_door(home, None, actor="test") as door:
        assert [(one.state, one.attempt) for one in door.wait(["other"], timeout=60)] == [("FAILED", 2)]
    with Manager.open(home) as manager:
        kinds = [event.type for name in NAMES[:3] for event in manager.events(agent=name)]
        assert (kinds.count("SPAWNING"), "SIGTERM_SENT" in kinds, "SIGKILL_SENT" in kinds) == (
            4,
            False,
            False,
        )


def test_an_agent_came_back_that_was_stopped_during_its_restart(manager: Manager, home: Path) -> None:
    """The stop of the restart was under way, so nothing followed from the order: now the last order counts."""
    deaf = python(
        home,
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)",
    )
    for name, stopped, state in (("it", False, "KILLED"), ("killed", True, "KILLED")):
        agent = manager.spawn(deaf.model_copy(update={"stop_grace_seconds": (0.5, 0.5, 10.0)}), name)
        eventually((home / agent.directory / "stdout.log").read_text, "it is deaf")
        manager.restart(name, wait=False)
        ended = manager.kill(name) if stopped else manager.stop(name)
        assert (ended.state, ended.attempt) == (state, 1)
        assert types(manager, name)[-1] == state
        assert [one["cause"] for one in data(manager, name, "STOP_REQUESTED")] == ["restart", "user"]
    assert types(manager, "it").count("SIGTERM_SENT") == 2


def test_an_attempt_that_fell_due_while_its_stop_was_being_recorded_is_not_started(
    manager: Manager, home: Path
) -> None:
    """The timer rings between the order and its commit: what was called off stays so."""
    slow = _policy(backoff_seconds=1.0)
    manager.spawn(shell(home, "sleep 0.3; exit 1", restart=slow), "it")
    other = manager.spawn(program(home, "sleep", "1000"), "other").id
    eventually(lambda: manager.status("it").state == "BACKOFF", "the back-off begins")
    agent = manager.status("it").id
    coordinator = manager._coordinator
    supervisor, by = coordinator.supervisor, Origin.of("test")

    async def stop_late() -> None:
        state = coordinator.ledger.states[agent]
        time.sleep(until_next_attempt(state, now_microseconds()))  # noqa: ASYNC251 - the timer is due now, too
        supervisor.turn.record(other, SendSignal(signal=10), by)  # a commit; the next one comes after a pause
        supervisor.stops.request(agent, RequestStop(), by)

    coordinator.call(stop_late()).result()
    assert manager.wait("it", timeout=30).state == "CANCELLED"
    manager.recover()
    assert types(manager, "it").count("SPAWNING") == 1
    assert [agent for _, agent in living(home)] == [other]
