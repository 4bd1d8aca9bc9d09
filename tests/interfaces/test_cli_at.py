"""Time travel by the command line: what `ps`, `status` and `why` showed at a position, `at` shows later."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from manager.cli.main import main
from manager.cli.times import from_rfc3339
from tests.interfaces.command_line import CommandLine, until

SEEN_OF_THE_LIVING = (
    "is_alive", "is_zombie", "process_status", "cpu_percent", "memory_bytes", "threads", "processes",
    "runtime_seconds", "command_line", "health", "note", "process_tree", "last_output",
)  # fmt: skip
Shown = dict[str, Any]


class History:
    """What `ps`, `status` and `why` print about a home, now or as of a position."""

    def __init__(self, outlive: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = str(outlive.home)
        self._capsys = capsys
        self.shown: dict[int, Shown] = {}

    def capture(self) -> None:
        """Keep what is shown at the head."""
        shown = self.read()
        self.shown[shown["head"]["position"]] = shown

    def read(self, *at: str) -> Shown:
        """`ps`, with the objects of `status` for its agents; what only a look at the living tells is left out."""
        listed = self.json(*at, "ps", "--all")
        names = [agent["id"] for agent in listed["agents"]]
        screens = self.json(*at, "status", *names)["agents"] if names else []
        agents = [listed["agents"], screens]
        for agent in (agent for part in agents for agent in part if agent["ended_at"] is None):
            for field in SEEN_OF_THE_LIVING:
                agent.pop(field, None)
        return {
            "head": listed["head"],
            "agents": agents,
            "why": [self.why(*at, "why", name) for name in names],
        }

    def why(self, *arguments: str) -> Shown:
        """A post-mortem without what is not in the log: a look at the living, samples, what vouches for it."""
        found: Shown = self.json(*arguments)
        del found["proof"]["outside"], found["proof"]["checkpoint"], found["samples"], found["trend"]
        found.pop("as_of", None)
        if found["verdict"]["cause"] == "still running":
            del found["verdict"], found["summary"]
        return found

    def directory(self, name: str) -> Path:
        """Of the agent's latest attempt."""
        return Path(self._home, self.json("status", name)["agents"][0]["directory"])

    def json(self, *arguments: str) -> Any:
        """The document that a command prints."""
        code, out, _ = self.call(*arguments, "--json")
        assert code in (0, 3)
        return json.loads(out)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """A command's exit code, output and complaint."""
        code = main(["--home", self._home, *arguments])
        said = self._capsys.readouterr()
        return code, said.out, said.err


def test_what_was_shown_is_shown_again(
    outlive: CommandLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through restarts, failures, kills of coordinator and shim, recoveries and a rebuild: each capture comes back."""
    history = History(outlive, capsys)
    outlive.run("--name", "stays", "--label", "team=blue", "--", "sleep", "600")
    history.capture()
    gate = tmp_path / "gate"
    waits = f"echo no >&2; while [ ! -e {gate} ]; do sleep 0.05; done; exit 3"
    outlive.run("--name", "fails", "--restart", "on-failure:1", "--", "sh", "-c", waits)
    history.capture()
    gate.touch()
    until((history.directory("fails") / "exit.json").exists)
    outlive("recover")
    history.capture()
    holder = outlive.start("run", "--name", "followed", "--follow", "--", "sleep", "600")
    until(lambda: '"RUNNING"' in history.call("events", "followed", "--json")[1])
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    history.capture()
    for process in ("shim_pid", "pid"):
        _kill(history.directory("followed"), process)
    outlive("recover")
    history.capture()
    outlive("restart", "stays", "--reason", "for a change")
    history.capture()
    outlive("stop", "--all")
    history.capture()
    outlive("rebuild")
    assert len(history.shown) == 7
    for position, shown in history.shown.items():
        assert history.read("at", str(position)) == shown, position
    first, last = min(history.shown), max(history.shown)
    states = [
        history.json("at", str(position), "ps", "-a")["agents"][0]["state"] for position in (first, last)
    ]
    assert states[0] == "RUNNING"
    assert states[1] in ("CANCELLED", "KILLED")


def test_times_positions_and_what_is_refused(
    outlive: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time means the last event before it; a moment that the log does not reach is refused in clear words."""
    history = History(outlive, capsys)
    code, _, error = history.call("at", "1", "ps")
    assert (code, "nothing was recorded there yet" in error) == (2, True)
    outlive.run("--name", "x", "--", "sleep", "600")
    events = [json.loads(line) for line in history.call("events", "--json")[1].splitlines()]
    running = next(event for event in events if event["type"] == "RUNNING")
    outlive("kill", "x")
    then = history.json("at", running["recorded_at"], "ps")
    assert then["as_of"] == running["recorded_at"]
    assert then["head"] == {"position": running["position"], "hash": running["hash"]}
    assert [(agent["state"], agent["is_alive"]) for agent in then["agents"]] == [("RUNNING", None)]
    why = history.json("at", running["recorded_at"], "why", "x")
    assert (why["as_of"], why["verdict"]["cause"]) == (then["as_of"], "still running")
    assert (why["verdict"]["certainty"], "as far as was recorded" in why["summary"]) == ("likely", True)
    last = history.call("at", str(running["position"]), "events")[1].splitlines()[-1]
    assert last.split("  ")[2] == "RUNNING"
    for moment in ("0.001 seconds ago", "-1ms"):
        code, out, _ = history.call("at", moment, "status", "x")
        assert (code, "killed: SIGKILL was needed" in out) == (3, True)
    for arguments, told in (
        (("99999", "ps"), "the log ends at"),
        (("0", "ps"), "the log begins with position 1 at"),
        (("2 days ago", "ps"), "the log begins with position 1 at"),
        (("-2d", "ps"), "the log begins with position 1 at"),
        (("2099-01-01", "ps"), "that is yet to come"),
        (("soon", "ps"), "is not a time"),
        (("1", "ps", "--watch"), "the past is over"),
        (("1", "events", "--follow"), "the past is over"),
        (("1", "stop", "x"), "No such command 'stop'"),
    ):
        code, _, error = history.call("at", *arguments)
        assert (code, told in error) == (2, True), (arguments, error)
    code, _, error = history.call("at", "1", "status", "x")
    assert (code, "none had this name or id; `outlive at … ps --all` lists" in error) == (4, True), error


def test_what_an_agent_used_then_is_told_by_its_samples(
    outlive: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last sample at that moment counts, not a later one; one that is more than a minute old tells nothing."""
    history = History(outlive, capsys)
    agent = outlive.run("--name", "x", "--", "sleep", "600")
    events = [json.loads(line) for line in history.call("events", "--json")[1].splitlines()]
    running = next(event["recorded_at"] for event in events if event["type"] == "RUNNING")
    at = from_rfc3339(running)
    with closing(sqlite3.connect(outlive.home / "events.db")) as database, database:
        database.execute("DELETE FROM samples")
        for offset, memory in ((-70, 1), (1, 3)):
            _sample(database, agent, at + offset * 1_000_000, memory)
    (then,) = history.json("at", running, "ps")["agents"]
    assert (then["state"], then["memory_bytes"], then["processes"]) == ("RUNNING", None, None)
    with closing(sqlite3.connect(outlive.home / "events.db")) as database, database:
        _sample(database, agent, at - 5_000_000, 2)
    (then,) = history.json("at", running, "ps")["agents"]
    assert (then["memory_bytes"], then["cpu_percent"], then["processes"]) == (2, 12.5, 1)
    assert "\t12.5\t2B\t1\t" in history.call("at", running, "ps")[1]


def _sample(database: sqlite3.Connection, agent: str, at: int, memory_bytes: int) -> None:
    database.execute("INSERT INTO samples VALUES (?, 1, ?, 12.5, ?, 1, 1)", (agent, at, memory_bytes))


def _kill(directory: Path, which: str) -> None:
    pid = json.loads((directory / "identity.json").read_text())["body"][which]
    os.kill(pid, signal.SIGKILL)
    until(lambda: _is_over(pid))


def _is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
