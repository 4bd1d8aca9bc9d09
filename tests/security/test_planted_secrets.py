"""Secrets in arguments, variables, output, labels and reasons: searched for in all that is written and said."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from manager.cli.main import COMMANDS
from tests.interfaces.command_line import CommandLine
from tests.support.tally import Tally

OPTION, EQUALS, PAIR, URL = "opt-4f1d9c", "eq-77ab02c1", "pair-9e3f11", "url-c0ffee42"
BEARER, OWN, INHERITED, RULED = "brr-2718281828", "own-3141592653", "inh-1618033988", "customer-4711"
SHAPED = "ghp_" + "Zz9" * 12
SECRETS = (OPTION, EQUALS, PAIR, URL, BEARER, OWN, INHERITED, RULED, SHAPED)
ARGUMENTS = (
    *("--password", OPTION, f"--token={EQUALS}", f"DB_PASSWORD={PAIR}", f"postgres://app:{URL}@db/app"),
    *(f"Authorization: Bearer {BEARER}", SHAPED, f"mine is {OWN}", f"theirs is {INHERITED}", f"for {RULED}"),
)
REASON = f"done with {SHAPED}, {OWN} and {OPTION}"
GIVEN = ("--env", f"API_TOKEN={OWN}", "--redact", r"customer-\d+", "--label", f"made-with={SHAPED}")
# What an agent wrote is passed on byte for byte by these; so is a script for a shell.
PASSED_ON = ("logs", "completion")
CHANGING = {
    "run": None,
    "wait": None,
    "signal": ("-s", "CONT"),
    "restart": (),
    "kill": (),
    "stop": (),
    "erase": (),
}
ALL_IN_ONE_PROCESS = """
import contextlib, io, json, sys
from manager.cli.main import main

def said(arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        main(arguments)
    return out.getvalue()

print(json.dumps([said(arguments) for arguments in json.load(sys.stdin)]))
"""
MAY_HOLD_THEM = ("spec.json", "stdout.log", "stderr.log")
SAYS_ALL = 'for word in "$@"; do echo "$word"; echo "cannot use $word" >&2; done; '


def test_a_planted_secret_is_nowhere_but_where_it_must_be(
    outlive: CommandLine, tmp_path: Path, tally: Tally
) -> None:
    """Given in every way and printed by the agents, through starts, failures, stops and errors, by every command."""
    said: dict[str, str] = {}

    def say(*commands: Sequence[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-c", ALL_IN_ONE_PROCESS],
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            cwd=tmp_path,
            env=outlive.environment(OTHERS_PASSWORD=INHERITED),
        )
        assert done.stderr == ""
        for command, output in zip(commands, json.loads(done.stdout), strict=True):
            said[f"{len(said)} {' '.join(command[:3])}"] = output

    def run(name: str, *command: str) -> Sequence[str]:
        return ("run", "--name", name, *GIVEN, "--", *command, *ARGUMENTS)

    say(
        run("lives", "sh", "-c", SAYS_ALL + 'sleep 1000 & exec sh -c "wait; sleep 1000" sh "$@"', "sh"),
        run("fails", "sh", "-c", SAYS_ALL + "sleep 0.3; exit 3", "sh"),
        run("ends-at-once", "sh", "-c", SAYS_ALL + "exit 4", "sh"),
        run("never", f"/nowhere/{OWN}/{SHAPED}"),
        ("run", *GIVEN, "--", f"./{SHAPED}", *ARGUMENTS),
        ("run", "--cwd", f"/nowhere/{OWN}", *GIVEN, "--", "true"),
        run("lives", "true"),
        ("wait", "fails"),
    )
    reading = COMMANDS.keys() - {*PASSED_ON, *CHANGING}
    say(
        *(
            (command, *rest)
            for command in reading
            for rest in ((), ("lives",), ("fails",), ("fails", "--json"))
        )
    )
    say(
        ("events", "-v"),
        ("status", "lives", "--json"),
        ("at", "9", "ps", "--json"),
        ("at", "9", "status", "lives"),
        *(
            (command, "lives", *rest, "--reason", REASON)
            for command, rest in CHANGING.items()
            if rest is not None
        ),
        ("events", "--json"),
        ("ps", "--all", "--json"),
    )
    for path in outlive.home.rglob("*"):
        if path.is_file() and path.name not in MAY_HOLD_THEM:
            said[str(path.relative_to(outlive.home))] = path.read_bytes().decode("utf-8", "replace")
    for path in tmp_path.glob("*.tar.gz"):
        with tarfile.open(path) as bundle:
            for member in bundle.getmembers():
                content = bundle.extractfile(member)
                assert content is not None
                said[f"{path.name} {member.name}"] = content.read().decode("utf-8", "replace")
    assert any("stderr.log" in where and "[redacted]" in text for where, text in said.items())
    found = {where: [secret for secret in SECRETS if secret in text] for where, text in said.items()}
    assert {where: secrets for where, secrets in found.items() if secrets} == {}
    assert any("[redacted]" in text for where, text in said.items() if where.startswith("events.db"))
    attempts = [json.loads(path.read_text())["body"] for path in outlive.home.glob("agents/*/1/spec.json")]
    assert any(list(ARGUMENTS) == body["command"][-len(ARGUMENTS) :] for body in attempts)
    tally("security 7 planted secrets searched for", runs=len(said) * len(SECRETS))


def test_the_true_arguments_reach_every_attempt(outlive: CommandLine, tmp_path: Path) -> None:
    """An agent is started, and started again, with what was given, not with what is shown of it."""
    told = tmp_path / "told"
    script = f'echo "$2" >> {told}; sleep 1000'
    outlive.run("--name", "it", "--", "sh", "-c", script, "sh", "--password", OPTION)
    assert outlive("restart", "it").returncode == 0
    assert told.read_text().split() == [OPTION, OPTION]
    shown = outlive.json("status", "it")["agents"][0]
    assert shown["command"] == shown["command_line"] == ["sh", "-c", script, "sh", "--password", "[redacted]"]
