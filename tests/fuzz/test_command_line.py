"""Whatever is typed, a command ends with a documented exit code and says in one line what it cannot do."""

from __future__ import annotations

import gc
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from manager import Manager
from manager.cli import exit_codes, searching
from tests.fuzz.command_lines import ENDED, command_lines, commands, outcome, problem, single_values
from tests.fuzz.hostile import examples
from tests.support.agents import QUICK, program
from tests.support.promises import clean_up, log_is_whole
from tests.support.tally import Tally

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a command leaves its files to its end
_numbers = itertools.count()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which agents have ended, and nobody is at home."""
    place = tmp_path_factory.mktemp("prepared")
    home = place / "home"
    with Manager.open(home, actor="test") as manager:
        manager.spawn(program(home, "sh", "-c", "printf 'aaaa\\n\\033[2J'", start_window_seconds=0), ENDED)
        manager.spawn(program(home, "false", start_window_seconds=0), "failed")
        manager.wait_many([ENDED, "failed"])
    yield home
    gc.collect()


@pytest.fixture
def copies(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """A directory in which each example has a copy of the home; agents that they start are ended."""
    yield tmp_path
    for home in tmp_path.glob("*/home"):
        clean_up(home)


def _copy(prepared: Path, place: Path) -> Path:
    own = place / str(next(_numbers))
    own.mkdir()
    (own / "file").write_text("A=b\n")
    shutil.copytree(prepared, own / "home")
    return own / "home"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_any_options_and_arguments_come_to_a_documented_end(
    prepared: Path, copies: Path, tally: Tally, words: tuple[str, ...]
) -> None:
    """Each command, on a home that nobody holds."""

    @examples(12)
    @given(command_lines(words))
    def come_to_an_end(line: list[str]) -> None:
        tally("fuzz command lines")
        found = outcome(line, _copy(prepared, copies))
        assert problem(line, found) is None, found

    come_to_an_end()


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_each_value_that_an_option_may_be_given_wrongly_comes_to_a_documented_end(
    prepared: Path, copies: Path, tally: Tally, words: tuple[str, ...]
) -> None:
    """One at a time, so that none hides another."""
    for line in single_values(words):
        tally("fuzz command lines")
        found = outcome(line, _copy(prepared, copies))
        assert problem(line, found) is None, (line, found)


@pytest.mark.parametrize("word", ["stop", "kill", "signal", "restart"])
def test_orders_to_a_living_agent_come_to_a_documented_end(tmp_path: Path, tally: Tally, word: str) -> None:
    """By way of the coordinator that holds the home, which lives on."""
    home = tmp_path / "home"
    spec = program(home, "sleep", "1000", start_window_seconds=0, stop_grace_seconds=QUICK)
    try:
        with Manager.open(home, actor="test") as manager:

            @examples(8)
            @given(command_lines((word,), frozenset({"--takeover", "--home", "--database-url", "--no-wait"})))
            def come_to_an_end(line: list[str]) -> None:
                if not manager.statuses():
                    manager.spawn(spec, ENDED)
                tally("fuzz command lines")
                found = outcome(line, home)
                assert problem(line, found) is None, found

            come_to_an_end()
            manager.kill_all()
            log_is_whole(manager)
    finally:
        clean_up(home)


FOUND = [
    ["status", "\udcff"],  # no name and no id: was an unexpected error, as were the following
    ["events", "--after", "9" * 19],
    ["events", "--since", "9" * 400 + "d"],
    ["verify", "--from", "9" * 19],
    ["at", "9" * 19, "ps"],
    ["at", "0001-01-01T00:00:00+14:00", "ps"],
    ["wait", "--timeout", "99999999999d", ENDED],
    ["logs", "--grep", "a{99999999999}", ENDED],
    ["logs", "--grep", "(" * 3000, ENDED],
    ["run", "--env-file", "\0", "--", "true"],
    ["run", "--user", "\u00b2", "--", "true"],
    ["ps", "--home", "\0"],
    ["recover", "--home", "\udcff"],
    ["recover", "--home", "~no-such-user"],
]


@pytest.mark.parametrize("line", FOUND, ids=lambda line: f"{line[0]} {line[1]}")
def test_what_was_an_unexpected_error_is_refused(prepared: Path, copies: Path, line: list[str]) -> None:
    """Each with its reason, and a code that says whose fault it is."""
    found = outcome(line, _copy(prepared, copies))
    assert problem(line, found) is None
    assert found.code in (exit_codes.FAILED, exit_codes.USAGE, exit_codes.UNKNOWN_AGENT)


def test_an_expression_that_python_warns_of_is_searched_for_in_silence(prepared: Path, copies: Path) -> None:
    """What Python may make of `[[a]` one day is nothing to whoever searches today."""
    found = outcome(["logs", "--grep", "[[a]a", ENDED], _copy(prepared, copies))
    assert found == (exit_codes.DONE, "aaaa\n", "")


def test_a_search_without_an_end_is_given_up(
    prepared: Path, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeats inside repeats, on a line that an agent chose, do not hold a command up for ever."""
    monkeypatch.setattr(searching, "SEARCH_SECONDS", 0.2)
    home = _copy(prepared, copies)
    for output in home.glob("agents/*/1/stdout.log"):
        output.write_text("a" * 60 + "b\n")
    found = outcome(["logs", "--grep", "(a+)+$", ENDED], home)
    assert found.code == exit_codes.USAGE
    assert "takes more than 0.2 s" in found.stderr


def test_details_are_for_unexpected_errors(prepared: Path, copies: Path) -> None:
    """`-v` shows where an unexpected error comes from; one that we raise on purpose stays one line."""
    found = outcome(["status", "-v", "nobody"], _copy(prepared, copies))
    assert (found.code, found.stderr.count("\n")) == (exit_codes.UNKNOWN_AGENT, 1)
