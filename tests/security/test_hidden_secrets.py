"""Secrets that agents write in ways in which rules did not see them: searched for in all that is recorded and said."""

from __future__ import annotations

import pytest

from tests.interfaces.command_line import CommandLine

OWN = "qW3rTy-0123456789-zXcVbN"
MAY_HOLD_THEM = ("spec.json", "stdout.log", "stderr.log")
COLOURED = (
    r"'\033[36mpassword\033[0m=\033[35mhunter2hunter\033[0m\n"
    r"error: \033[31mghp_\033[0mZz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9\n'"
)
WRITES = {
    "colours": (f"printf {COLOURED} >&2", ("hunter2hunter", "ghp_", "Zz9")),
    "NULs": (r"printf 'error: ghp\000_Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9\n' >&2", ("Zz9",)),
    "one line": (
        'i=0; while [ $i -lt 2000 ]; do printf %s "$API_TOKEN"; i=$((i+1)); done',
        (OWN[:8], OWN[-8:]),
    ),
    "its beginning": (f"printf %s {OWN[:-3]}", (OWN[:8],)),
}


@pytest.mark.parametrize("script", WRITES)
def test_output_showed_a_secret(outlive: CommandLine, script: str) -> None:
    """With colours or NULs in it, cut where what is kept begins, or half written: recorded and shown nowhere."""
    writes, secrets = WRITES[script]
    program = outlive.directory / "program"
    program.write_text(f"{writes}; sleep 0.2; exit 3")
    outlive("run", "--name", "it", "--env", f"API_TOKEN={OWN}", "--", "sh", str(program))
    outlive("wait", "it")
    said = {
        " ".join(command): outlive(*command).stdout
        for command in (("status", "it"), ("status", "it", "--json"), ("why", "it"), ("why", "it", "--json"))
    }
    said |= {
        str(path.relative_to(outlive.home)): path.read_bytes().decode("utf-8", "replace")
        for path in outlive.home.rglob("*")
        if path.is_file() and path.name not in MAY_HOLD_THEM
    }
    assert {where: text for where, text in said.items() if any(secret in text for secret in secrets)} == {}
    assert "[redacted]" in said["why it"]


@pytest.mark.parametrize("option", ["--env", "--label"])
def test_an_error_repeated_the_value_that_was_given(outlive: CommandLine, option: str) -> None:
    """What is not of the form K=V may be a secret whose name was forgotten, or written otherwise."""
    done = outlive("run", option, "DB PASSWORD: hunter2", "--", "true")
    assert done.returncode == 2
    assert "hunter2" not in done.stderr
    assert option in done.stderr
