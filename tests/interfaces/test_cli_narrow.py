"""Tables on terminals that are too narrow for them."""

from __future__ import annotations

import re

import pytest

from manager.cli.render import GAP, fold
from tests.interfaces.command_line import CommandLine

REPORTS = ("failures", "durations", "restarts", "uptime", "resources", "recoveries")
LINE = "cannot open the database of the customers"


@pytest.mark.parametrize(
    ("widths", "room", "parts"),
    [
        ([5], 80, [[0]]),
        ([5, 5, 5], 15 + 2 * GAP, [[0, 1, 2]]),
        ([5, 5, 5], 14 + 2 * GAP, [[0, 1], [0, 2]]),
        ([5, 90, 5, 5], 20, [[0, 1], [0, 2, 3]]),
    ],
)
def test_columns_that_have_no_room_go_below(widths: list[int], room: int, parts: list[list[int]]) -> None:
    """With the first column before them again; none is left out, however wide."""
    assert fold(widths, room) == parts


def test_tables_on_narrow_terminals_were_cut_to_letters(outlive: CommandLine) -> None:
    """At 80 and 60 cells every title and figure of every report is whole, and no line is wider."""
    outlive.run(
        "--name", "nightly-build", "--start-window", "0s", "--", "sh", "-c", f"echo {LINE} >&2; exit 3"
    )
    outlive.run("--name", "server", "--", "sleep", "600")
    outlive("wait", "nightly-build")
    for report in [*((name,) for name in REPORTS), ("failures", "--by", "fingerprint")]:
        wanted = set(re.findall(r"[^\t\n]+", outlive("report", *report).stdout)) - {LINE}
        for columns in ("80", "60"):
            lines = _lines(outlive.terminal("report", *report, COLUMNS=columns, TERM="xterm", NO_COLOR="1"))
            assert max(map(len, lines)) <= int(columns)
            text = "\n".join(lines)
            assert {cell for cell in wanted if cell not in text} <= _that_move(wanted)
    for command in (
        ("ps", "--all"),
        ("doctor",),
        ("report", "risks"),
        ("sql", "SELECT * FROM report_attempts"),
    ):
        lines = _lines(outlive.terminal(*command, COLUMNS="60", TERM="xterm", NO_COLOR="1"))
        assert max(map(len, lines)) <= 60
    doctor = " ".join(_lines(outlive.terminal("doctor", COLUMNS="60", TERM="xterm", NO_COLOR="1")))
    assert "something act as one" in re.sub(r"\s+", " ", doctor)  # prose goes on in the next line


def _lines(shown: str) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()]


def _that_move(cells: set[str]) -> set[str]:
    """Durations and shares of what still runs, which differ from look to look."""
    return {cell for cell in cells if re.fullmatch(r"[\d.]+(s|%|m\d\ds)", cell)}
