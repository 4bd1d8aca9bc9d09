"""What strangers may call things, and what becomes of their words in a query and on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.errors import OutliveError
from manager import Manager
from manager.cli import sanitize
from tests.support.agents import data, program
from tests.support.promises import log_is_whole
from tests.support.tally import Tally

NAMES = [
    *("", ".", "..", "../x", "a/b", "/etc", "a\n", "\na", "a\r", "a b", "-a", "--all", "_a", ".a", "a\0", "a\x1b[2J"),
    *("\u0430gent", "agent\u200b", "\uff41gent", "\u0661", "a\u0301", "\u2024\u2024", "a" * 65, "a" * 10_000),
    *("a%2e", "a;b", "a'b", 'a"b', "$(id)", "`id`", "a\\b", "a\udcff", "a\u2028"),
]  # fmt: skip
INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE agents; --",
    '" OR ""="',
    "x' UNION SELECT * FROM events --",
    "%",
    "_",
    "\\",
    "1; PRAGMA writable_schema=1",
]


def test_names_are_strict(manager: Manager, home: Path, tally: Tally) -> None:
    """What is no plain name is refused whole, also one line end after a good name; nothing is recorded."""
    for name in NAMES:
        with pytest.raises(OutliveError):
            manager.spawn(program(home, "true"), name)
    assert manager.statuses(all=True) == []
    assert list((home / "agents").iterdir()) == []
    tally("security 4 names that are none", runs=len(NAMES))


def test_sql_is_a_text_like_any_other(manager: Manager, home: Path, tally: Tally) -> None:
    """It finds no agent, and comes back as it was given."""
    for text in INJECTIONS:
        for ask in (manager.status, manager.kill, lambda agent: list(manager.events(agent=agent))):
            with pytest.raises(OutliveError):
                ask(text)
    agent = manager.spawn(program(home, "sleep", "1000", labels={"a": INJECTIONS[1]}), "it")
    manager.stop(agent, reason=INJECTIONS[1])
    assert manager.status("it").labels == {"a": INJECTIONS[1]}
    assert data(manager, "it", "STOP_REQUESTED")[0]["reason"] == INJECTIONS[1]
    log_is_whole(manager)
    tally("security 4 SQL in the place of names and texts", runs=3 * len(INJECTIONS) + 2)


HIDDEN = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0xAD,
    0x61C,
    0x180E,
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
]
HIDDEN += [*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), 0xE0001, *range(0xE0020, 0xE0080)]


def test_no_hidden_character_reaches_a_terminal(tally: Tally) -> None:
    """Controls of both sets, bidi marks, what takes no room: each is shown as an escape, in a line and in output."""
    for code in HIDDEN:
        assert sanitize.one_line(f"a{chr(code)}b").isprintable(), hex(code)
        assert chr(code) not in sanitize.one_line(f"a{chr(code)}b"), hex(code)
        assert chr(code) in "\n\t" or chr(code) not in sanitize.output(f"a{chr(code)}b"), hex(code)
    tally("security 7 hidden characters in text from strangers", runs=len(HIDDEN))
