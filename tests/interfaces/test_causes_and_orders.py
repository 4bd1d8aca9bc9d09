"""Everything that an order caused is one query: actor, reason, correlation and causation are on all that follows."""

from __future__ import annotations

import json
from typing import Any

from manager import Manager, RestartPolicy
from tests.interfaces.command_line import CommandLine, until
from tests.support.agents import QUICK, python, shell

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"


def _events(outlive: CommandLine, *options: str) -> list[dict[str, Any]]:
    done = outlive("events", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _types(events: list[dict[str, Any]], stream: str | None = None) -> list[str]:
    return [event["type"] for event in events if stream in (None, event["stream"])]


def test_everything_that_a_stop_caused(outlive: CommandLine) -> None:
    """All stages, the end and the verdict, of each agent that it went to, and nothing of anybody else."""
    home = outlive.home
    with Manager.open(home, actor="alice") as manager:
        asleep = shell(home, "exec sleep 300")
        manager.spawn_many([("one", asleep), ("two", asleep), ("bystander", asleep)])
        manager.stop_many(["one", "two"], grace=QUICK, reason="release 7", actor="bob")
    asked = _events(outlive, "--type", "STOP_REQUESTED")
    assert [(one["actor"], one["data"]["reason"], one["causation_id"]) for one in asked] == [
        ("bob", "release 7", None)
    ] * 2
    of_order = _events(outlive, "--correlation", asked[0]["correlation_id"])
    ends = ["STOP_REQUESTED", "SIGTERM_SENT", "ZOMBIE_REAPED", "CANCELLED"]
    assert [_types(of_order, one["stream"]) for one in asked] == [ends, ends]
    assert len(of_order) == 2 * len(ends)
    first = _events(outlive, "--caused-by", str(asked[0]["position"]))
    assert _types(first) == ends[1:]
    assert {event["stream"] for event in first} == {asked[0]["stream"]}
    assert _types(_events(outlive, "--caused-by", str(asked[0]["position"]), "--type", "CANCELLED")) == [
        "CANCELLED"
    ]
    assert outlive("events", "--caused-by", "9999").returncode == 2


def test_a_stop_that_lost_its_coordinator_is_still_one_story(outlive: CommandLine) -> None:
    """Whoever takes up a half-done stop goes on under the same order, up to the SIGKILL and the end."""
    home = outlive.home
    with Manager.open(home, actor="alice") as manager:
        agent = manager.spawn(python(home, DEAF), "deaf")
    log = home / agent.directory / "stdout.log"
    until(log.read_text)
    stop = outlive.start("stop", "deaf", "--grace", "2s,1s,60s", "--reason", "release 7")
    until(lambda: _events(outlive, "--type", "SIGTERM_SENT"))
    stop.kill()
    stop.wait()
    with Manager.open(home, actor="carol") as manager:
        assert manager.wait("deaf", timeout=60).state == "KILLED"
    (asked,) = _events(outlive, "--type", "STOP_REQUESTED")
    led_to = _events(outlive, "--caused-by", str(asked["position"]))
    assert _types(led_to)[-1] == "KILLED"
    assert {"SIGTERM_SENT", "SIGKILL_SENT", "ZOMBIE_REAPED"} <= set(_types(led_to))
    assert {event["correlation_id"] for event in led_to} == {asked["correlation_id"]}
    stages = [event for event in _events(outlive, "deaf") if event["position"] > asked["position"]]
    assert led_to == stages
    assert (outlive.json("why", "deaf")["asked"][-1]["reason"], asked["data"]["reason"]) == ("release 7",) * 2


def test_restarts_and_what_calls_them_off_say_who_and_why(outlive: CommandLine) -> None:
    """Policy goes on with the order before; a person who hurries or calls off a restart is named, with the reason."""
    home = outlive.home
    rule = RestartPolicy(mode="on-failure", backoff_seconds=600, backoff_limit_seconds=600)
    with Manager.open(home, actor="alice") as manager:
        manager.spawn(shell(home, "sleep 0.3; exit 1", restart=rule), "flaky")
        until(lambda: manager.status("flaky").state == "BACKOFF")
        manager.restart("flaky", reason="now, please", actor="bob")
        until(lambda: manager.status("flaky").state == "BACKOFF")
        manager.stop_many(["flaky"], reason="enough", actor="carol")
    spawned, *by_policy, hurried, again, _, _, _, _, _, cancelled = _events(outlive, "flaky")
    assert {one["correlation_id"] for one in by_policy} == {spawned["correlation_id"]}
    assert _types(by_policy)[-1] == "RESTART_SCHEDULED"
    assert (hurried["type"], hurried["actor"], hurried["data"]["reason"], hurried["causation_id"]) == (
        "RESTART_SCHEDULED",
        "bob",
        "now, please",
        None,
    )
    assert (again["type"], again["causation_id"]) == ("SPAWNING", hurried["id"])
    assert again["correlation_id"] == hurried["correlation_id"]
    assert (cancelled["type"], cancelled["actor"], cancelled["data"]["reason"]) == (
        "CANCELLED",
        "carol",
        "enough",
    )
    asked = outlive.json("why", "flaky")["asked"]
    assert [(one["what"], one["actor"], one["reason"]) for one in asked][-1] == ("cancel", "carol", "enough")


def test_what_a_coordinator_does_of_itself_belongs_to_its_start(outlive: CommandLine) -> None:
    """Its recovery and its leaving were led to by its start, and share its id with no other coordinator."""
    for _ in range(2):
        with Manager.open(outlive.home):
            pass
    started = _events(outlive, "--type", "COORDINATOR_STARTED")
    assert len({one["correlation_id"] for one in started}) == 2
    for one in started:
        led_to = _events(outlive, "--caused-by", str(one["position"]))
        assert _types(led_to) == ["RECOVERY_COMPLETED", "COORDINATOR_STOPPED"]
        assert {event["correlation_id"] for event in led_to} == {one["correlation_id"]}


def test_a_restart_that_a_kill_overtook_waited_for_ever(outlive: CommandLine) -> None:
    """The last order counts: the restart ends as soon as the agent has, and says why nothing was started."""
    with Manager.open(outlive.home) as manager:
        agent = manager.spawn(python(outlive.home, DEAF), "deaf")
    until((outlive.home / agent.directory / "stdout.log").read_text)
    restart = outlive.start("restart", "deaf")
    until(lambda: _events(outlive, "--type", "SIGTERM_SENT"))
    assert outlive("kill", "deaf").returncode == 0
    _, said = restart.communicate(timeout=60)
    assert restart.returncode == 8, said
    assert "cannot start deaf again: it was stopped meanwhile; see `outlive events deaf`" in said
