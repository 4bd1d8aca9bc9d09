"""What people type and read, without any agent: durations, times, signals, sentences, tables, error codes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import eventstore
import manager
import projections
from eventstore.errors import OutliveError
from eventstore.events import EVENT_TYPES
from manager.cli import durations, exit_codes, sanitize, times
from manager.cli.agents import STATES, short_ids
from manager.cli.main import main
from manager.cli.options import parse_signal
from manager.cli.render import STATE_STYLES, Column, plain_table
from manager.cli.specification import parse_codes, parse_restart, parse_umask, read_env_file
from manager.cli.tailing import Lines, offset_of_last_lines
from projections import quantities
from projections.sentences import SENTENCES, sentence

NOW = 1_763_820_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("5s", 5.0),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("3d", 259200.0),
        ("0", 0.0),
        ("1.5", 1.5),  # a bare number is seconds
        ("1.5s", 1.5),
    ],
)
def test_durations_as_people_type_them(text: str, seconds: float) -> None:
    """`100ms`, `5s` and `1m30s` mean what they say."""
    assert durations.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1s", "5 s", "s", "1y", "1e3", "٣s", "inf", "nan"])
def test_other_durations_are_refused(text: str) -> None:
    """What is not a duration is an error with an example, never a guess."""
    with pytest.raises(ValueError, match="write it like"):
        durations.parse_duration(text)


def test_grace_is_three_waits() -> None:
    """`--stop-grace` takes the three waits, no more and no fewer."""
    assert durations.parse_grace("10s,5s,500ms") == (10.0, 5.0, 0.5)
    with pytest.raises(ValueError, match="three waits"):
        durations.parse_grace("10s,5s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (0.0004, "0.0s"),
        (0.014, "14ms"),
        (0.0994, "99ms"),
        (0.0996, "0.1s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m00s"),
        (724, "12m04s"),
        (11220, "3h07m"),
        (187200, "2d04h"),
        (-1, "0.0s"),  # a clock that was set back
    ],
)
def test_durations_as_people_read_them(seconds: float | None, text: str) -> None:
    """Two units are enough."""
    assert quantities.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "-"), (512, "512B"), (98304, "96.0K"), (432013312, "412M"), (2 * 1024**4, "2.0T")],
)
def test_sizes_as_people_read_them(size: int | None, text: str) -> None:
    """Powers of 1024 with three digits at the most."""
    assert quantities.size_text(size) == text


def test_instants() -> None:
    """`--since` takes RFC 3339, or how long ago."""
    assert times.parse_instant("2025-11-22T14:00:00Z", now=NOW) == NOW
    assert times.parse_instant("2025-11-22T15:00:00.5+01:00", now=NOW) == NOW + 500_000
    assert times.parse_instant("10m", now=NOW) == times.parse_instant("10m ago", now=NOW) == NOW - 600_000_000
    assert times.time_text(NOW, utc=True) == "2025-11-22 14:00:00.000Z"
    with pytest.raises(ValueError, match="is not a time"):
        times.parse_instant("yesterday", now=NOW)


def test_signals_by_name_and_number() -> None:
    """A signal is named as kill(1) names it."""
    assert parse_signal("TERM") == parse_signal("sigterm") == parse_signal("15") == 15
    assert parse_signal("RTMIN+2") == 36
    for text in ("0", "65", "NOPE", "-9", "_DFL", "٣"):
        with pytest.raises(ValueError, match="is not a signal"):
            parse_signal(text)


def test_options_of_run_that_have_a_syntax_of_their_own() -> None:
    """Restart policy, success codes and umask are refused with what to write instead."""
    assert parse_restart("on-failure:3").max_restarts == 3
    assert parse_restart("always").mode == "always"
    assert parse_codes("0, 3") == (0, 3)
    assert parse_umask("027") == 0o27
    for parse, text in ((parse_restart, "never:3"), (parse_restart, "on-failure:0"), (parse_codes, "0,,1")):
        with pytest.raises(OutliveError, match="write"):
            parse(text)
    with pytest.raises(OutliveError, match="octal"):
        parse_umask("8")


def test_env_file(tmp_path: Path) -> None:
    """A file of variables is taken as it is: comments skipped, nothing expanded or unquoted."""
    path = tmp_path / "env"
    path.write_text('# all of it\n\nA=1\n B =x=$HOME "q"\n')
    assert read_env_file(str(path)) == {"A": "1", "B": 'x=$HOME "q"'}
    path.write_text("A=1\nexport\n")
    with pytest.raises(OutliveError, match="line 2 is not KEY=VALUE"):
        read_env_file(str(path))


def test_text_of_strangers_is_harmless() -> None:
    """Nothing that an agent names or writes moves the cursor, renames the window or turns text around."""
    hostile = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb\u2066c\u200fd\x7f\r\n\te\udcff"
    shown = sanitize.one_line(hostile)
    assert shown == "a\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202eb\\u2066c\\u200fd\\x7f\\r\\n\\te\\xff"
    assert sanitize.output("tab\tand\nline") == "tab\tand\nline"
    assert sanitize.one_line("grün 日本 🎉") == "grün 日本 🎉"


def test_tables_are_tab_separated_for_programs() -> None:
    """A cell never breaks a row: tabs and line ends in it are escaped."""
    text = plain_table((Column("A"), Column("B")), [("x\ty", "z\n")])
    assert text == "A\tB\nx\\ty\tz\\n"


def test_every_event_has_a_sentence() -> None:
    """Each type of event reads as a plain sentence; an unknown or older one never breaks the listing."""
    assert set(SENTENCES) == set(EVENT_TYPES)
    assert "does not know" in sentence("FROM_THE_FUTURE", {})
    assert "another version" in sentence("STARTED", {"attempt": 1})


def test_exit_codes_are_named_as_they_are(tmp_path: Path) -> None:
    """Code 137 and death by signal 9 read differently."""
    reaped = {
        "oom_killed": None,
        "leftovers": [7],
        "is_tree_complete": True,
        "is_recovered": False,
    }
    by_code = sentence("ZOMBIE_REAPED", {**reaped, "exit": {"kind": "code", "code": 137}})
    by_signal = sentence(
        "ZOMBIE_REAPED", {**reaped, "exit": {"kind": "signal", "signal": 9, "core_dumped": False}}
    )
    assert by_code == "ended with exit code 137; 1 process left over and killed"
    assert by_signal == "ended with signal 9 (SIGKILL); 1 process left over and killed"


def test_every_error_has_an_exit_code() -> None:
    """The table of exit codes names only errors that exist, and every error of ours has a code."""
    for package in (eventstore, manager, projections):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith("eventstore._migrations"):
                importlib.import_module(module.name)

    def below(cls: type[BaseException]) -> set[str]:
        return {cls.__name__}.union(*(below(sub) for sub in cls.__subclasses__()))

    assert set(exit_codes.ERROR_CODES) - {"ValidationError"} <= below(OutliveError)
    assert exit_codes.of_error(OutliveError("x")) == exit_codes.FAILED
    assert exit_codes.of_error(KeyError("x")) == exit_codes.OUTLIVE_FAILED


def test_states_have_their_colours() -> None:
    """Every state of the lifecycle can be filtered by and has a colour."""
    from eventstore.state import OUTCOMES, State

    assert set(STATES) == set(STATE_STYLES) == {state.value for state in State}
    assert set(STATES[STATES.index("COMPLETED") :]) == {state.value for state in OUTCOMES}


def test_short_ids_stay_unambiguous() -> None:
    """An id is shortened only as far as nobody else begins so."""
    assert short_ids(["aaaaaaaa-1", "aaaaaaaa-2"]) == {"aaaaaaaa-1": "aaaaaaaa-1", "aaaaaaaa-2": "aaaaaaaa-2"}
    assert short_ids(["aaaaaaaa-1"]) == {"aaaaaaaa-1": "aaaaaaaa"}


def test_last_lines_of_a_large_file(tmp_path: Path) -> None:
    """`-n` finds the last lines from the end, whether or not the last one is complete."""
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%08d\n" % n for n in range(30_000)) + b"half")
    assert path.read_bytes()[offset_of_last_lines(path, 2) :] == b"00029999\nhalf"
    with path.open("ab") as file:
        file.write(b"\n")
    assert path.read_bytes()[offset_of_last_lines(path, 20_000) :].count(b"\n") == 20_000
    assert offset_of_last_lines(path, 0) == path.stat().st_size
    assert offset_of_last_lines(path, 99_999) == 0
    assert offset_of_last_lines(tmp_path / "none", 5) == 0


def test_lines_across_chunks() -> None:
    """A line, and a character, that comes in two pieces is put together; bytes that are no text are shown."""
    lines = Lines()
    assert lines.feed("grü".encode()[:-1]) == []
    assert lines.feed("grü".encode()[-1:] + b"n\r\nnext \xff\nrest") == ["grün", "next \\xff"]
    assert lines.finish() == ["rest"]
    assert lines.finish() == []


def test_every_command_and_option_is_documented() -> None:
    """`docs/cli.md` names every command, every option and every exit code."""
    import click

    from manager.cli.main import COMMANDS, cli

    text = (Path(manager.__path__[0]).parent / "docs" / "cli.md").read_text()
    missing = [f"command {name}" for name in COMMANDS if f"`{name}" not in text]
    with click.Context(cli) as context:
        for name in COMMANDS:
            command = cli.get_command(context, name)
            assert command is not None
            flags = [flag for option in command.params for flag in option.opts if flag.startswith("--")]
            missing += [f"{name} {flag}" for flag in flags if flag not in text]
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    missing += [
        f"exit code {code}" for code in codes if not re.search(rf"^\|.*\b{code}\b.*\|", text, re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.parametrize(
    "line",
    [
        ("prune", "--before", "1", "--export"),
        ("export", "--output"),
        ("bundle", "x", "--output"),
        ("verify", "--against"),
        ("verify", "--bundle"),
        ("keys", "new"),
        ("keys", "show"),
    ],
)
def test_a_file_with_a_nul_in_its_name_was_an_unexpected_error(
    line: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a usage error that says so."""
    assert main(["--home", str(tmp_path / "home"), *line, "a\0b"]) == 2
    assert "no path holds a NUL" in capsys.readouterr().err
