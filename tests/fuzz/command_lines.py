"""Command lines out of the tree of commands, with values that nobody should give, and a runner for them.

They run as root, too: no value is the path of anything that may be written to. Lone surrogates but those that stand
for bytes are left out: no program can be given them.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import click
from hypothesis import strategies as st

from manager.cli import exit_codes
from manager.cli.main import COMMANDS, cli, main

ENDED = "ended"
LASTING = frozenset({"serve", "top"})  # they go on until Ctrl-C, whatever they are given
WRITING = frozenset({"bundle", "checkpoint", "export", "keys"})  # to a file that is named: not tried as root
SHARED = frozenset(name for option in cli.params for name in option.opts)
CODES = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
SILENT = {exit_codes.DONE, exit_codes.NOT_RUNNING, exit_codes.INTERRUPTED}

TEXTS = [
    "", "\0", "a\0b", "\udcff", "\ud800", "\x1b]0;x\x07", "\u202eabc", "\n", "a\nb", "\t", "x" * 5000, "é" * 2100,
    "-", "--", "-1", "=", "a=b", "a=", "=b", "a=\udcff", "a=b=c", ".", "..", "../../x", "/", "/proc/none", "%s", "{}",
    "'; DROP TABLE events; --", "$(id)", ENDED, "0", "1", "2", "7",
]  # fmt: skip
NUMBERS = [
    "-0",
    "+1",
    "0x10",
    "1e3",
    "1_0",
    "²",
    "１",
    "NaN",
    "inf",
    "1.5",
    " 1",
    "9" * 19,
    "9" * 400,
    "9" * 5000,
]
TIMES = [
    "1s", "0s", "1ms", "99999999999d", "9" * 400 + "d", "1s,1s,1s", "0,0,0", "1s,1s", "inf,inf,inf", "1h ago", "s",
    "0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-23:59", "1969-12-31", "2026-02-30",
]  # fmt: skip
EXPRESSIONS = [
    "(",
    "[",
    "*",
    "\\",
    "(?i",
    "a{99999999999}",
    "(" * 3000,
    "[[a]",
    "(a+)+$",
    "(?P<n>a)(?P<n>b)",
    "^.*$",
]
WORDS = [
    "RUNNING",
    "failed",
    "FAILED",
    "agents",
    "bash",
    "TERM",
    "SIGKILL",
    "RTMIN+²",
    "RTMIN+99",
    "never",
    "main",
]
HOMES = [
    "",
    "\0",
    "\udcff",
    "x" * 300,
    "x" * 5000,
    "file",
    "file/below",
    "new",
    "a\nb",
    "\x1b[2J",
    "missing/a/b",
]
DATABASES = [
    "",
    "x",
    "sqlite:",
    "sqlite://",
    "sqlite:///new.db",
    "sqlite:///file",
    "sqlite:///\0",
    "postgresql://",
    "a:b",
    "sqlite:///\udcff",
]
COMMAND_WORDS = [
    ["true"], ["sh", "-c", "exit 3"], [""], ["/"], ["file"], ["no-such-program"], ["true", "\0"], ["\udcff"],
    ["true", "\udcff"], ["true", "x" * 60_000], ["true", "x" * 200_000], ["x" * 5000],
]  # fmt: skip
RESTARTS = ["never", "on-failure:0", "on-failure:1", "on-failure:x", "", "always:-1", "\0", "Never"]
OWN_VALUES = {"--home": HOMES, "--database-url": DATABASES, "--restart": RESTARTS}


class Outcome(NamedTuple):
    """What came of a command line."""

    code: int
    stdout: str
    stderr: str


def commands() -> list[tuple[str, ...]]:
    """The words of each command that ends by itself, subcommands by themselves."""
    found: list[tuple[str, ...]] = []
    context = click.Context(cli)
    for name in sorted(set(COMMANDS) - LASTING - WRITING):
        command = cli.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else []
        found += [(name, each) for each in inner] or [(name,)]
    return found


def parameters(words: Sequence[str]) -> list[tuple[str, list[click.Parameter]]]:
    """Each word, and what may follow it."""
    command: click.Command = cli
    found = []
    for word in words:
        assert isinstance(command, click.Group)
        inner = command.get_command(click.Context(command), word)
        assert inner is not None, word
        command = inner
        found.append((word, list(command.params)))
    return found


@st.composite
def command_lines(
    draw: st.DrawFn, words: Sequence[str], leave_out: frozenset[str] = frozenset()
) -> list[str]:
    """One call of a command: some of its options, each with some value, and some arguments."""
    line = []
    for word, taken in parameters(words):
        line.append(word)
        options = [one for one in taken if isinstance(one, click.Option) and not leave_out & set(one.opts)]
        own = [one for one in options if one.opts[0] not in SHARED] or options
        for option in draw(st.lists(st.sampled_from(own) | st.sampled_from(options), max_size=3)):
            line += draw(_given(option))
        for argument in taken:
            if isinstance(argument, click.Argument):
                line += draw(_words(argument))
    return line


def _given(option: click.Option) -> st.SearchStrategy[list[str]]:
    flag = st.sampled_from([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return flag.map(lambda name: [name])
    return st.tuples(flag, _values(option)).map(list)


def _values(option: click.Option) -> st.SearchStrategy[str]:
    for name, own in OWN_VALUES.items():
        if name in option.opts:
            return st.sampled_from(own)
    return st.sampled_from(_likely(option)) | st.sampled_from([*TEXTS, *NUMBERS, *TIMES, *WORDS])


def single_values(words: Sequence[str]) -> Iterator[list[str]]:
    """Every value that an option may be given wrongly, one in a call that is right otherwise."""
    *before, (last, taken) = parameters(words)
    first = [word for group, params in before for word in (group, *_right(params))] + [last]
    for option in taken:
        if isinstance(option, click.Option) and not option.is_flag:
            for value in OWN_VALUES.get(option.opts[-1]) or dict.fromkeys([*_likely(option), *TEXTS]):
                needed = ["-s", "CONT"] if last == "signal" and not option.required else []
                yield [*first, *needed, option.opts[-1], value, *_right(taken)]


def _right(taken: Sequence[click.Parameter]) -> list[str]:
    """Arguments that it may be given."""
    known = {"command": ["--", "true"], "moment": ["1"], "projection": ["agents"], "shell": ["bash"]}
    return [
        word
        for one in taken
        if isinstance(one, click.Argument)
        for word in known.get(one.name or "", [ENDED])
    ]


def _likely(option: click.Option) -> list[str]:
    """Values that come further than to be of another kind."""
    kind = option.type
    if isinstance(kind, click.Choice):
        return [str(choice) for choice in kind.choices]
    if isinstance(kind, click.types.IntParamType):
        return NUMBERS
    if kind.name in ("duration", "s,s,s", "time"):
        return TIMES + NUMBERS
    return EXPRESSIONS if option.name == "pattern" else TEXTS


def _words(argument: click.Argument) -> st.SearchStrategy[list[str]]:
    if argument.name == "command":
        return st.sampled_from(COMMAND_WORDS).map(lambda words: ["--", *words])
    one = st.just("1" if argument.name == "moment" else ENDED) | st.sampled_from(
        TEXTS + NUMBERS + TIMES + WORDS
    )
    most = 1 if argument.nargs == 1 else 3
    return st.lists(one, min_size=int(argument.required), max_size=most)


def outcome(line: Sequence[str], home: Path) -> Outcome:
    """Run it here, with real files for stdout and stderr; what waits for more is interrupted as by Ctrl-C."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, _surroundings(home):
        with (
            mock.patch("sys.stdout", out),
            mock.patch("sys.stderr", err),
            mock.patch("time.sleep", _Patience()),
        ):
            code = main(list(line))
        texts = []
        for file in (out, err):
            file.flush()
            file.seek(0)
            texts.append(file.read())
    return Outcome(code, *texts)


class _Patience:
    """`time.sleep` in a command that would wait for ever: at the third look there comes Ctrl-C."""

    def __init__(self) -> None:
        self._sleep = time.sleep
        self._looks = 0

    def __call__(self, seconds: float) -> None:
        self._looks += seconds >= 0.1
        if self._looks == 3:
            raise KeyboardInterrupt
        self._sleep(min(seconds, 0.1))


@contextmanager
def _surroundings(home: Path) -> Iterator[None]:
    before = os.getcwd()
    variables = {"OUTLIVE_HOME": str(home), "HOME": str(home.parent), "XDG_STATE_HOME": str(home.parent)}
    os.chdir(home.parent)
    try:
        with mock.patch.dict(os.environ, variables):
            yield
    finally:
        os.chdir(before)


HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def problem(line: Sequence[str], found: Outcome) -> str | None:
    """What is wrong with an outcome; None where it is as documented."""
    told = [text for text in found.stderr.splitlines() if text.startswith("outlive: cannot")]
    is_agents_own = line[0] == "wait" or {"-f", "--follow"} & set(line)
    if found.code not in CODES and not (is_agents_own and found.code in range(256)):
        return f"its exit code {found.code} is not documented"
    if "Traceback" in found.stderr or "unexpected" in found.stderr or "Warning" in found.stderr:
        return "it shows what only a programmer can read"
    if HARMFUL.search(found.stderr) or (HARMFUL.search(found.stdout) and "--raw" not in line):
        return "it passes control characters on"
    is_answer = line[0] in ("doctor", "db") and found.code == exit_codes.FAILED and found.stdout
    if found.code not in SILENT and not is_agents_own and not is_answer and len(told) != 1:
        return f"it does not say in one line what it cannot do, but in {len(told)}"
    return None
