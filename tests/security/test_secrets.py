"""Values of an environment are for the agent alone: searched for in all that outlive writes and says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.interfaces.command_line import CommandLine, until
from tests.support.tally import Tally

SECRET = "s3cret-f00d-value"
READING = ("ps", "status", "health", "events", "logs", "doctor", "verify")


def test_no_value_of_an_environment_is_written_or_said(
    outlive: CommandLine, tmp_path: Path, tally: Tally
) -> None:
    """Given on the command line, in a file, and inherited; through starts, failures, errors and a recovery."""
    (tmp_path / "secrets.env").write_text(f"FROM_FILE={SECRET}\n")
    given = ("--env", f"GIVEN={SECRET}", "--env-file", "secrets.env")
    said = []

    def say(*arguments: str) -> None:
        done = outlive(*arguments, INHERITED=SECRET)
        said.append(f"{arguments} {done.stdout} {done.stderr}".replace(f"GIVEN={SECRET}", "", 1))

    say("run", "--name", "runs", *given, "--", "sleep", "1000")
    say("run", "--name", "fails", *given, "--", "sh", "-c", "sleep 0.3; exit 3")
    say("run", "--name", "never", *given, "--", "/nowhere")
    say("run", "--name", "runs", *given, "--", "sleep", "1000")
    say("wait", "fails")
    for command in READING:
        agents = ("runs",) if command in ("status", "health", "logs") else ()
        say(command, *agents)
    for command in ("status", "events"):
        say(command, "runs", "--json")
    cmdlines = list(_cmdlines(outlive.home))
    assert cmdlines
    holder = outlive.start("run", "--name", "attached", *given, "--follow", "--", "sleep", "1000")
    lock = outlive.home / "lock"
    _until_held(lock)
    say("run", "--name", "another", *given, "--", "true")
    content = {path: path.read_bytes() for path in outlive.home.rglob("*") if path.is_file()}
    holder.kill()
    holder.communicate()
    content |= {path: path.read_bytes() for path in outlive.home.rglob("*") if path.is_file()}
    assert len([path for path in content if path.name == "spec.json"]) >= 2
    assert [
        path for path, text in content.items() if SECRET.encode() in text and path.name != "spec.json"
    ] == []
    assert [text for text in said if SECRET in text] == []
    assert [text for text in cmdlines if SECRET.encode() in text] == []
    tally("security 6 values of an environment searched for", runs=len(said) + len(content) + len(cmdlines))


def _cmdlines(home: Path) -> Iterator[bytes]:
    """Of the shims of a home, and of every launcher there is."""
    for path in home.glob("agents/*/*/identity.json"):
        pid = json.loads(path.read_text())["body"]["shim_pid"]
        if os.path.exists(f"/proc/{pid}/cmdline"):
            yield Path(f"/proc/{pid}/cmdline").read_bytes()


def _until_held(lock: Path) -> None:
    until(lock.read_bytes)
