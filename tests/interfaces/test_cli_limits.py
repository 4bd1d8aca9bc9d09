"""Limits by the command line: how they are asked for, shown, and told of when they were why an agent ended."""

from __future__ import annotations

import json
import re

import pytest

from tests.interfaces.command_line import CommandLine, until

LIMITS = ("--wall", "1500ms", "--memory", "1G", "--processes", "20", "--cpu", "1m")
RECORDED = {"wall_seconds": 1.5, "memory_bytes": 1 << 30, "processes": 20, "cpu_seconds": 60.0}


def test_an_agent_that_is_followed_comes_to_its_limit(outlive: CommandLine) -> None:
    """`run --follow` holds the home meanwhile; every command that tells of its end names the limit."""
    done = outlive("run", "--name", "it", "--follow", *LIMITS, "--", "sleep", "300")
    assert done.returncode == 143
    shown = outlive.json("status", "it")["agents"][0]
    message = str(shown["message"])
    assert re.fullmatch(r"it ran for \S+s, its limit is 1\.5s", message)
    assert (shown["limits"], shown["state"], shown["cause"]) == (RECORDED, "FAILED", "limit")
    text = outlive("status", "it").stdout
    assert "limits    1.5s in all, 1.0G of memory, 20 processes, 1m00s of CPU time" in text
    verdict = outlive.json("why", "it")["verdict"]
    assert (verdict["cause"], verdict["certainty"], verdict["message"]) == ("limit", "certain", message)
    assert f"it (attempt 1) was stopped because of a limit: {message}." in outlive("why", "it").stdout
    assert message in outlive("why", "it", "--format", "html").stdout
    report = outlive.json("report", "failures", "--by", "cause")
    assert [row["group"] for row in report["rows"]] == ["limit"]
    assert message in outlive("events", "it").stdout
    assert outlive("verify").returncode == 0
    assert outlive("rebuild", "--check").returncode == 0


def test_wait_holds_the_home_and_enforces(outlive: CommandLine) -> None:
    """An agent that was started and left comes to its limit while somebody waits for it."""
    outlive.run("--name", "it", "--wall", "1s", "--", "sleep", "300")
    assert outlive("wait", "it").returncode == 143
    assert outlive.json("status", "it")["agents"][0]["cause"] == "limit"


@pytest.mark.parametrize(("rule", "cause"), [("--wall", "limit"), ("--max-silence", "health")])
def test_recover_stops_what_has_run_too_long(outlive: CommandLine, rule: str, cause: str) -> None:
    """Nobody was there when its time was up; the command that looks after the home sees its stop to the end."""
    outlive.run("--name", "it", rule, "1s", "--", "sleep", "300")
    until(lambda: outlive.json("status", "it")["agents"][0]["runtime_seconds"] > 1)
    assert outlive.json("status", "it")["agents"][0]["state"] == "RUNNING"
    assert outlive("recover").returncode == 0
    status = outlive.json("status", "it")["agents"][0]
    assert (status["state"], status["cause"]) == ("FAILED", cause)


def test_an_agent_that_is_followed_and_writes_nothing(outlive: CommandLine) -> None:
    """Every command that tells of its end names its silence; another attempt has its time anew."""
    options = ("--follow", "--max-silence", "1s", "--restart", "on-failure:1")
    assert outlive("run", "--name", "it", *options, "--", "sh", "-c", "echo on; sleep 300").returncode == 143
    shown = outlive.json("status", "it")["agents"][0]
    message = str(shown["message"])
    assert re.fullmatch(r"it has written nothing for \S+s, its limit is 1\.0s", message)
    assert (shown["health_rule"], shown["limits"]) == ({"silence_seconds": 1.0}, None)
    assert (shown["state"], shown["cause"], shown["attempt"]) == ("FAILED", "health", 2)
    assert "rule      1.0s of silence at most" in outlive("status", "it").stdout
    verdict = outlive.json("why", "it")["verdict"]
    assert (verdict["cause"], verdict["certainty"], verdict["message"]) == ("health", "certain", message)
    text = outlive("why", "it").stdout
    assert f"it (attempt 2) was stopped because of its health: {message}." in text
    assert "its last output was at" in text
    assert message in outlive("why", "it", "--format", "html").stdout
    report = outlive.json("report", "failures", "--by", "cause")
    assert [(row["group"], row["failed"]) for row in report["rows"]] == [("health", 2)]
    changes = outlive("events", "it", "--type", "HEALTH_CHANGED").stdout.splitlines()
    assert sum("unhealthy: it has written nothing for " in line for line in changes) == 2
    assert outlive("verify").returncode == 0
    assert outlive("rebuild", "--check").returncode == 0


def test_limits_are_shown_as_of_then(outlive: CommandLine) -> None:
    """`at` shows those of the agent that was there; what has none says so."""
    outlive.run("--name", "limited", "--processes", "20", "--", "sleep", "300")
    outlive.run("--name", "free", "--", "sleep", "300")
    outlive("stop", "limited", "free")
    events = [json.loads(line) for line in outlive("events", "limited", "--json").stdout.splitlines()]
    running = next(event["position"] for event in events if event["type"] == "RUNNING")
    then = outlive.json("at", str(running), "status", "limited")["agents"][0]
    assert (then["state"], then["limits"]["processes"]) == ("RUNNING", 20)
    assert outlive.json("status", "free")["agents"][0]["limits"] is None
    assert "  limits  " not in outlive("status", "free").stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [("--memory", "5X"), ("--processes", "0"), ("--wall", "0s"), ("--cpu", "soon"), ("--max-silence", "0s")],
)
def test_what_is_no_limit_is_refused(outlive: CommandLine, option: str, value: str) -> None:
    """Nothing is started, and one line says what is wrong."""
    done = outlive("run", option, value, "--", "sleep", "300")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not outlive.home.exists()
