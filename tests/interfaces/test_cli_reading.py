"""Reading by the command line: output, the log, and the promises about speed, pipes and hostile text."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.interfaces.command_line import PROGRAM, CommandLine, until

EVENT_FIELDS = {
    "position", "id", "stream", "version", "type", "schema_version", "attempt", "occurred_at", "recorded_at", "actor",
    "correlation_id", "causation_id", "data", "previous_hash", "hash",
}  # fmt: skip
HEAVY = ("sqlalchemy", "alembic", "pydantic", "rich")
VOCABULARY = ("eventstore.events", "eventstore.codec", "eventstore.values")  # a fifth of what `ps` takes


def test_listing_loads_nothing_heavy(outlive: CommandLine) -> None:
    """`outlive ps` for a program imports neither SQLAlchemy, alembic, pydantic nor rich, nor the types of events."""
    outlive.run("--name", "x", "--", "sleep", "600")
    for command in (
        ["ps"],
        ["ps", "--json"],
        ["status", "x"],
        ["health"],
        ["events"],
        ["logs", "x"],
        ["why", "x"],
    ):
        unwanted = HEAVY + VOCABULARY if command[0] == "ps" else HEAVY
        script = (
            "import sys; from manager.cli.main import main; main(sys.argv[1:]); "
            f"sys.exit(' '.join(name for name in {unwanted} if name in sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *command],
            env=outlive.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr.strip() == "", f"{command} loads {done.stderr}"


def test_a_bare_home_reads_as_empty(outlive: CommandLine) -> None:
    """Reading creates nothing and finds nothing wrong with a home that is not there."""
    assert outlive.json("ps") | {"generated_at": ""} == {
        "schema": "outlive.agents/1",
        "generated_at": "",
        "head": {"position": 0, "hash": None},
        "agents": [],
    }
    for command in ("ps", "health", "events", "doctor"):
        done = outlive(command)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert outlive("verify").returncode == 1  # nothing is known of a log that is not there
    assert not outlive.home.exists()


def test_global_options_before_and_after(outlive: CommandLine, tmp_path: Path) -> None:
    """`--home`, `--json` and `--utc` mean the same before the command and after it."""
    other = str(tmp_path / "other")
    outlive.run("--name", "x", "--home", other, "--", "true")
    for arguments in (("--home", other, "--json", "ps", "--all"), ("ps", "--all", "--json", "--home", other)):
        assert json.loads(outlive(*arguments).stdout)["agents"][0]["name"] == "x"
    assert not outlive.home.exists()
    environment = {"TZ": "Asia/Tokyo"}
    local, utc = (
        outlive("events", "--home", other, **environment),
        outlive("events", "--home", other, "--utc", **environment),
    )
    assert int(local.stdout[11:13]) == (int(utc.stdout[11:13]) + 9) % 24
    assert utc.stdout[23] == "Z"


def test_the_log_reads_as_sentences(outlive: CommandLine) -> None:
    """`events` tells what happened in order; filters by type, actor, position and time narrow it."""
    outlive.run("--name", "x", "--", "sleep", "600")
    outlive("stop", "x", "--reason", "enough")
    lines = outlive("events", "x", "--utc").stdout.splitlines()
    kinds = [line.split("  ")[2] for line in lines]
    assert kinds == [
        "SPAWNING",
        "STARTED",
        "RUNNING",
        "STOP_REQUESTED",
        "SIGTERM_SENT",
        "ZOMBIE_REAPED",
        "CANCELLED",
    ]
    assert "attempt 1 is about to start: sleep 600" in lines[0]
    assert lines[3].endswith(f"stop requested: enough  [uid:{os.getuid()}/cli]")
    assert "ended with signal 15 (SIGTERM)" in lines[5]

    objects = [json.loads(line) for line in outlive("events", "--json").stdout.splitlines()]
    assert [event["position"] for event in objects] == list(range(1, len(objects) + 1))
    assert all(event.keys() >= EVENT_FIELDS for event in objects)
    assert all(one["hash"] == two["previous_hash"] for one, two in itertools.pairwise(objects))
    middle = next(event for event in objects if event["type"] == "STOP_REQUESTED")
    since = outlive("events", "--json", "--since", middle["recorded_at"]).stdout.splitlines()
    expected = [event["position"] for event in objects if event["recorded_at"] >= middle["recorded_at"]]
    assert [json.loads(line)["position"] for line in since] == expected
    assert outlive("events", "--until", "1h").stdout == ""
    assert outlive("events", "--after", str(len(objects))).stdout == ""
    assert outlive("events", "--actor", "nobody").stdout == ""
    assert outlive("events", "--type", "completed", "--type", "CANCELLED").stdout.count("\n") == 1


def test_events_follow_misses_nothing(outlive: CommandLine) -> None:
    """`events -f` begins before there is a log, and shows every event of the agent as it comes."""
    process = outlive.start("events", "-f", "--json")
    time.sleep(0.5)
    outlive.run("--name", "x", "--", "true")
    seen: list[int] = []
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        seen.append(event["position"])
        if event["type"] == "COMPLETED":
            break
    assert seen == list(range(1, len(seen) + 1))


def test_logs_follow_over_a_restart_until_the_end(outlive: CommandLine) -> None:
    """`logs -f` goes on with the next attempt and ends when the agent has ended."""
    outlive.run("--name", "x", "--", "sh", "-c", "echo one $OUTLIVE_ATTEMPT; sleep 600")
    process = outlive.start("logs", "-f", "x")
    assert process.stdout is not None
    assert process.stdout.readline() == "one 1\n"
    assert outlive("restart", "x").returncode == 0
    assert process.stdout.readline() == "one 2\n"
    assert outlive("stop", "x").returncode == 0
    assert process.wait(timeout=60) == 0
    assert process.stdout.read() == ""


def test_logs_follow_ends_without_a_coordinator(outlive: CommandLine) -> None:
    """Where nobody is there to record an end or to start the next attempt, `logs -f` does not wait for ever."""
    outlive.run("--name", "x", "--restart", "always", "--", "sh", "-c", "echo one; sleep 1")
    assert outlive("logs", "-f", "x").stdout == "one\n"
    assert outlive("recover").returncode == 0
    assert outlive.json("ps")["agents"][0]["state"] == "BACKOFF"
    for command in (
        ("ps",),
        ("status", "x"),
    ):  # the next attempt's time is local, too, unless asked otherwise
        zoned = [outlive(*command, *utc, TZ="UTC-09").stdout for utc in ((), ("--utc",))]
        times = [re.search(r"next attempt at (\S+ \S+)", text) for text in zoned]
        local, utc = (datetime.fromisoformat(found[1].removesuffix("Z")) for found in times if found)
        assert local - utc == timedelta(hours=9)
    assert outlive("logs", "-f", "x").stdout == "one\n"


def test_logs_filters(outlive: CommandLine) -> None:
    """The last lines, stderr, a pattern, and several agents told apart by name."""
    outlive.run("--name", "a", "--", "sh", "-c", "seq 5; echo err >&2")
    outlive.run("--name", "b", "--", "sh", "-c", "printf 'x\\ty'")
    assert outlive("logs", "a", "-n", "2").stdout == "4\n5\n"
    assert outlive("logs", "a", "--stderr").stdout == "err\n"
    assert outlive("logs", "a", "--grep", "[24]").stdout == "2\n4\n"
    assert outlive("logs", "a", "b", "-n", "1").stdout == "a | 5\nb | x\ty\n"
    assert json.loads(outlive("logs", "b", "--json").stdout)["line"] == "x\ty"


def test_hostile_text_is_harmless_everywhere(outlive: CommandLine) -> None:
    """Escape sequences in arguments and output reach no terminal through any command."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    outlive.run("--name", "x", "--label", f"k={evil}", "--start-window", "0", "--", sys.executable, "-c",
                f"print({evil!r}, flush=True); import time; time.sleep(600)", evil)  # fmt: skip
    until(lambda: outlive("logs", "x").stdout)
    for command in (
        ["ps"],
        ["status", "x"],
        ["logs", "x"],
        ["events"],
        ["ps", "--json"],
        ["events", "--json"],
    ):
        text = outlive(*command).stdout + outlive(*command).stderr
        assert not {"\x1b", "\x07", "\u202e"} & set(text), command
    assert "\x1b" in outlive("logs", "x", "--raw").stdout
    assert "\x1b]0" not in outlive.terminal("status", "x")
    assert "\x1b]0" not in outlive.terminal("run", "--follow", "--", "printf", "\\033]0;owned\\007")


def test_a_terminal_gets_a_drawn_table(outlive: CommandLine) -> None:
    """On a terminal the table has a summary and short ids; NO_COLOR and --no-color keep colours away."""
    agent = outlive.run("--name", "x", "--", "sleep", "600")
    shown = outlive.terminal("ps", NO_COLOR="", TERM="xterm")
    assert "1 agent: 1 live" in shown
    assert "\x1b[32mRUNNING" in shown
    assert agent not in shown
    assert agent[:8] in shown
    assert "\x1b[32m" not in outlive.terminal("ps", "--no-color", NO_COLOR="", TERM="xterm")
    assert "\x1b[32m" not in outlive.terminal("status", "x", NO_COLOR="1", TERM="xterm")


def test_nobody_reads_the_output(outlive: CommandLine) -> None:
    """`outlive … | head -1` ends quietly."""
    for _ in range(3):
        outlive.run("--", "true")
    process = outlive.start("events", "-f")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    outlive.run("--", "true")
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (141, "")


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), (">/dev/full", 125), ("2>&-", 0)])
def test_a_stdout_that_cannot_be_written(outlive: CommandLine, redirection: str, code: int) -> None:
    """A closed or full stdout ends in one line at the most, never in a traceback."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" ps {redirection}', "sh", *PROGRAM],
        env=outlive.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if code else 0), done.stderr


def test_any_locale(outlive: CommandLine) -> None:
    """An agent's arrow does not end a command whose terminal has no arrows."""
    outlive.run("--name", "x", "--", "echo", "→ 日本")
    done = outlive("logs", "x", PYTHONIOENCODING="latin-1:strict")
    assert (done.returncode, done.stdout) == (0, "\\u2192 \\u65e5\\u672c\n")


def test_watch(outlive: CommandLine) -> None:
    """`ps --watch` shows the table again and again; as JSON one document a line."""
    outlive.run("--name", "x", "--", "sleep", "600")
    process = outlive.start("ps", "--watch", "--json")
    assert process.stdout is not None
    documents = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert documents[0]["generated_at"] < documents[1]["generated_at"]


def test_completion_offers_agents(outlive: CommandLine) -> None:
    """The shell completes commands and names of agents, and stays silent where there is nothing."""
    for shell in ("bash", "zsh", "fish"):
        assert "_OUTLIVE_COMPLETE" in outlive("completion", shell).stdout

    def complete(*words: str) -> list[str]:
        variables = {
            "_OUTLIVE_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        done = outlive(**variables)
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    assert complete("outlive", "sto") == ["stop"]
    assert complete("outlive", "stop", "al") == []
    outlive.run("--name", "alpha", "--", "sleep", "600")
    outlive.run("--name", "beta", "--", "true")
    assert complete("outlive", "stop", "al") == ["alpha"]
