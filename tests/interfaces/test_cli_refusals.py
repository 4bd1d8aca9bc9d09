"""What is asked wrongly or cannot be done: one line that says why and what to do, a code, and nothing left behind."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from manager.manager import Manager
from manager.spec import AgentSpec
from tests.interfaces.command_line import CommandLine
from tests.support.others import MODULES, NOBODY, python_for_others


def check_refusal(done: object, code: int, *words: str) -> None:
    """The refusal has this code, and its one line has the form and these words."""
    assert done.returncode == code, done.stderr  # type: ignore[attr-defined]
    stderr: str = done.stderr  # type: ignore[attr-defined]
    first = stderr.splitlines()[0]
    assert re.match(r"outlive: cannot .+[:;] \S", first), stderr
    assert "Traceback" not in stderr
    for word in words:
        assert word in stderr, stderr


@pytest.mark.parametrize(
    ("command", "code", "word"),
    [
        (["no-such-program-anywhere"], 127, "No such file or directory"),
        (["/no/such/program"], 127, "No such file or directory"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["/"], 126, "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_executed(
    outlive: CommandLine, command: list[str], code: int, word: str
) -> None:
    """127 for one that is not there, 126 for one that may not be executed, as a shell has it; no process is left."""
    check_refusal(outlive("run", "--name", "x", "--", *command), code, "cannot start x", word)
    (agent,) = outlive.json("ps", "--all")["agents"]
    assert (agent["state"], agent["cause"], agent["exit"]) == ("FAILED", "failed start", None)
    assert outlive("ps").stdout.count("\n") == 1


def test_a_text_file_without_an_interpreter_line(outlive: CommandLine, tmp_path: Path) -> None:
    """What the kernel does not know how to execute is not executable: no shell is tried."""
    script = tmp_path / "script"
    script.write_text("echo never\n")
    script.chmod(0o755)
    check_refusal(outlive("run", "--", str(script)), 126, "Exec format error")


@pytest.mark.parametrize("is_searched", [False, True])
def test_a_script_whose_interpreter_is_missing(
    outlive: CommandLine, tmp_path: Path, *, is_searched: bool
) -> None:
    """The interpreter is what was not found, and not the script, which is there."""
    script = tmp_path / "deploy"
    script.write_text("#! /usr/no/python3 -u\n")
    script.chmod(0o755)
    command = ("--env", f"PATH={tmp_path}", "--", "deploy") if is_searched else ("--", str(script))
    done = outlive("run", "--name", "x", *command)
    check_refusal(done, 127, "deploy", "its interpreter /usr/no/python3 was not found")


def test_a_directory_that_is_not_there(outlive: CommandLine) -> None:
    """A missing --cwd is a failed start, and not mistaken for a missing program."""
    check_refusal(outlive("run", "--cwd", "/no/such/place", "--", "true"), 1, "/no/such/place")


def test_an_early_end_is_a_failed_start(outlive: CommandLine) -> None:
    """A program that ends at once with a failure is told with its code and its last lines."""
    done = outlive("run", "--name", "early", "--", "sh", "-c", "echo 'no config' >&2; exit 3")
    check_refusal(done, 1, "early", "  | no config")
    assert outlive.json("status", "early")["agents"][0]["exit"]["code"] == 3


@pytest.mark.root
def test_a_user_that_does_not_exist(outlive: CommandLine) -> None:
    """An unknown --user is refused before anything is recorded."""
    check_refusal(outlive("run", "--user", "no-such-user", "--", "true"), 2, "no-such-user")
    assert outlive.json("ps", "--all")["agents"] == []


def test_a_name_in_use(outlive: CommandLine) -> None:
    """A name belongs to one agent until it has ended; then it may be used again."""
    first = outlive.run("--name", "one", "--", "sleep", "600")
    check_refusal(outlive("run", "--name", "one", "--", "sleep", "600"), 8, "'one'", first)
    assert len(outlive.json("ps", "--all")["agents"]) == 1
    assert outlive("kill", "one").returncode == 0
    assert outlive.run("--name", "one", "--", "sleep", "600") != first
    assert outlive.json("ps")["agents"][0]["name"] == "one"


@pytest.mark.parametrize("command", ["status", "stop", "kill", "restart", "wait", "logs", "events", "health"])
def test_an_unknown_agent(outlive: CommandLine, command: str) -> None:
    """Every verb says that there is no such agent with exit 4: on a bare home and on one in use."""
    check_refusal(outlive(command, "nope"), 4, "'nope'")
    assert not outlive.home.exists()


def test_an_ambiguous_beginning(outlive: CommandLine) -> None:
    """An id's beginning that several agents share is refused with the candidates."""
    with Manager.open(outlive.home) as manager:  # 17 ids share one of 16 first digits
        started = manager.spawn_many([(None, AgentSpec(command=("true",)))] * 17)
    ids = [status.id for status in started]
    first = next(digit for digit in "0123456789abcdef" if sum(text.startswith(digit) for text in ids) > 1)
    check_refusal(outlive("status", first), 8, next(text for text in sorted(ids) if text.startswith(first)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-such-option",),
        ("frobnicate",),
        ("run",),
        ("run", "--name", "../x", "--", "true"),
        ("run", "--start-window", "soon", "--", "true"),
        ("run", "--stop-grace", "1s", "--", "true"),
        ("run", "--restart", "sometimes", "--", "true"),
        ("run", "--success-codes", "256", "--", "true"),
        ("run", "--umask", "9", "--", "true"),
        ("run", "--label", "x", "--", "true"),
        ("run", "--env", "SURELY_NOT_SET", "--", "true"),
        ("run", "--env-file", "missing", "--", "true"),
        ("run", "--", ""),
        ("stop",),
        ("stop", "--all", "x"),
        ("signal", "x", "-s", "NOPE"),
        ("ps", "--state", "HAPPY"),
        ("events", "--since", "yesterday"),
        ("events", "--type", "NOPE"),
        ("rebuild", "nope"),
    ],
)
def test_asked_wrongly(outlive: CommandLine, arguments: tuple[str, ...]) -> None:
    """Usage errors have exit 2, advice, and touch nothing."""
    check_refusal(outlive(*arguments), 2)
    assert not (outlive.home / "events.db").exists()


def test_a_bad_pattern(outlive: CommandLine) -> None:
    """A regular expression that is none is a usage error."""
    outlive.run("--name", "x", "--", "true")
    check_refusal(outlive("logs", "x", "--grep", "("), 2, "'('")


def test_a_home_that_lets_others_in(outlive: CommandLine) -> None:
    """A home with open modes is refused for changing, with the command that mends it; doctor says the same."""
    outlive.home.mkdir()
    outlive.home.chmod(0o755)
    check_refusal(outlive("run", "--", "true"), 1, f"chmod 700 {outlive.home}")
    assert list(outlive.home.iterdir()) == []
    doctor = outlive("doctor")
    assert doctor.returncode == 1
    assert "0755" in doctor.stdout


def test_a_home_that_is_a_file(outlive: CommandLine) -> None:
    """A home that is no directory is refused."""
    outlive.home.write_text("")
    check_refusal(outlive("run", "--", "true"), 1, str(outlive.home))


@pytest.mark.root
def test_a_home_of_somebody_else(outlive: CommandLine) -> None:
    """A home with another owner is refused, even for root."""
    outlive.home.mkdir(0o700)
    os.chown(outlive.home, 65534, 65534)
    check_refusal(outlive("run", "--", "true"), 1, "belongs to uid 65534")
    assert list(outlive.home.iterdir()) == []


@pytest.mark.root
def test_a_home_that_cannot_be_made() -> None:
    """A user who may not write there is told so, and with --home what to do."""
    python = python_for_others()
    if python is None:
        pytest.skip("needs an interpreter and a checkout that other users may read")
    refused = subprocess.run(
        [python, "-m", "manager.cli.main", "run", "--home", "/root-only/home", "--", "true"],
        env={"PYTHONPATH": MODULES, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )
    check_refusal(refused, 1, "/root-only", "--home")


def test_a_home_with_a_long_path(outlive: CommandLine, tmp_path: Path) -> None:
    """A home may have a longer path than a socket's address; one that the system cannot have is refused."""
    long = str(tmp_path / ("x" * 100))
    assert outlive("run", "--home", long, "--name", "x", "--", "true").returncode == 0
    too_long = str(tmp_path / ("x" * 300))
    check_refusal(outlive("run", "--home", too_long, "--", "true"), 1, too_long, "too long", "--home")
    check_refusal(outlive("ps", "--home", too_long), 7, too_long)


def _newer(database: sqlite3.Connection) -> None:
    database.execute("UPDATE alembic_version SET version_num = '9999'")


def _foreign(database: sqlite3.Connection) -> None:
    database.execute("DROP TABLE alembic_version")


@pytest.mark.damages
@pytest.mark.parametrize("change", [_newer, _foreign])
def test_a_database_that_is_not_of_this_release(
    outlive: CommandLine, change: Callable[[sqlite3.Connection], None]
) -> None:
    """A database of a newer release, or of no release, is neither read nor written."""
    outlive.run("--name", "x", "--", "true")
    with sqlite3.connect(outlive.home / "events.db") as database:
        change(database)
        count = database.execute("SELECT count(*) FROM events").fetchone()
    for command in (("ps",), ("run", "--", "true"), ("stop", "x"), ("verify",)):
        check_refusal(outlive(*command), 7, "events.db")
    with sqlite3.connect(outlive.home / "events.db") as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == count
    assert outlive("doctor").returncode == 1


def test_a_database_that_is_none(outlive: CommandLine) -> None:
    """A file that is no database is damage, told as such."""
    outlive.home.mkdir(0o700)
    (outlive.home / "events.db").write_bytes(b"not a database at all" * 100)
    (outlive.home / "events.db").chmod(0o600)
    check_refusal(outlive("ps"), 6, "events.db")


@pytest.mark.damages
def test_every_command_waited_for_ever_at_a_pipe_in_the_place_of_the_log(outlive: CommandLine) -> None:
    """Whether it reads or writes: there is no file, and that is said at once."""
    outlive.run("--start-window", "0s", "--", "true")
    database = outlive.home / "events.db"
    for path in outlive.home.glob("events.db*"):
        path.unlink()
    os.mkfifo(database, 0o600)
    for command in (("ps",), ("verify",), ("doctor",), ("rebuild", "--check"), ("run", "--", "true")):
        process = outlive.start(*command)
        told = "".join(process.communicate(timeout=30))
        assert process.returncode != 0, command
        assert f"{database}: it is no file" in told or f"{database} is something else" in told, (
            command,
            told,
        )
