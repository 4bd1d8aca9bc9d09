"""What strangers say, searched for in all that the real command writes to a real terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.interfaces.command_line import CommandLine, until
from tests.support.tally import Tally

ROW = "security 7 commands on a terminal, with hostile text in all that is shown"
# A window's title, a cleared screen, concealed text, the same by C1, bidi, nothing visible, the line written over.
LABEL = "\x1b]0;owned\x07\x1b[2J\x1b[8m\x9b31m\u202eb\u2066c\u200fd\x7f\x08\r=1+1"
HOSTILE = f"{LABEL}\nline\udcff"
HIDDEN = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x200F, 0x202E, 0x2066)} - {"\n", "\t"}
SPEAKS = 'printf "%s\\n" "$1"; printf "%s\\n" "$1" >&2; exec -a "$1" sleep 600'
FAILS = 'printf "%s\\n" "$1" >&2; sleep 0.3; exit 3'
SHOWING = (
    ["ps", "--all"],
    ["status", "living"],
    ["status", "dead"],
    ["why", "dead"],
    ["events"],
    ["logs", "living", "dead"],
    ["stop", "living", "--reason", HOSTILE],
    ["events", "living"],
)
REFUSING = (
    ["status", HOSTILE],
    ["run", "--name", HOSTILE, "--", "true"],
    ["run", "--", f"/nonexistent{HOSTILE}"],
    ["ps", f"--{LABEL}"],
)


@pytest.mark.timeout(300)
def test_what_is_shown_of_agents_is_harmless(outlive: CommandLine, tally: Tally) -> None:
    """Names of directories and programs, arguments, labels, reasons, output: their controls are shown as escapes."""
    place = outlive.directory / f"in{HOSTILE}"
    place.mkdir()
    options = ["--label", f"said={LABEL}", "--cwd", str(place)]
    outlive.run("--name", "living", *options, "--", "bash", "-c", SPEAKS, "bash", HOSTILE)
    outlive.run("--name", "dead", *options, "--", "bash", "-c", FAILS, "bash", HOSTILE)
    assert outlive("wait", "dead").returncode == 3
    _are_harmless(outlive, SHOWING)
    tally(ROW, runs=len(SHOWING))


def test_what_is_refused_is_quoted_harmlessly(outlive: CommandLine, tally: Tally) -> None:
    """An error that says what was wrong does not do what it was."""
    _are_harmless(outlive, REFUSING)
    tally(ROW, runs=len(REFUSING))


def test_logs_keep_the_colours_of_a_line_and_nothing_else(outlive: CommandLine, tally: Tally) -> None:
    """On a terminal, until the end of their line; without colours, and for programs, they are escaped, too."""
    outlive.run("--name", "x", "--", "printf", "\\033[1;31mred\\033]0;owned\\007\\nplain\\033[2J\\n")
    until(lambda: outlive("logs", "x").stdout.endswith("\n"))
    escaped = "\\x1b[1;31mred\\x1b]0;owned\\x07\nplain\\x1b[2J\n"
    coloured = "\x1b[1;31mred\\x1b]0;owned\\x07\x1b[0m\nplain\\x1b[2J\n"
    assert outlive.terminal("logs", "x", NO_COLOR="", TERM="xterm").replace("\r\n", "\n") == coloured
    assert outlive.terminal("logs", "x", NO_COLOR="1", TERM="xterm").replace("\r\n", "\n") == escaped
    assert outlive("logs", "x", NO_COLOR="").stdout == escaped
    assert outlive("logs", "x", "--raw").stdout.startswith("\x1b[1;31mred\x1b]0;owned\x07\n")
    tally(ROW, runs=4)


def _are_harmless(outlive: CommandLine, commands: Sequence[list[str]]) -> None:
    for command in commands:
        shown = outlive.terminal(*command, TERM="dumb").replace("\r\n", "\n")
        assert shown, command
        assert not HIDDEN & set(shown), (command, shown)
