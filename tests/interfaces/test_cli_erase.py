"""`erase`: what an agent wrote goes for good, and the log says who wanted so."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from manager import AgentSpec, Manager, StartFailed
from tests.interfaces.command_line import CommandLine, until

WORDS = "the-customer-is-Jane-Doe"
FAILS = AgentSpec(
    command=("sh", "-c", "echo $SAYS >&2; sleep 0.2; exit 3"), env={"SAYS": WORDS}, start_window_seconds=0.02
)
TALKS = "echo $SAYS; sleep 0.2; while :; do echo more; sleep 0.05; done"
POINTS = (
    *("coordinator.before_status_file", "store.after_insert", "store.after_commit"),
    *("store.after_scrub", "coordinator.before_output_erased", "coordinator.after_output_erased"),
)


@pytest.fixture
def failed(outlive: CommandLine) -> CommandLine:
    """A home with an agent that wrote something and failed."""
    with Manager.open(outlive.home) as manager:
        manager.wait(manager.spawn(FAILS, "it"))
    return outlive


def holders(home: Path) -> set[str]:
    """Names of the files of a home that hold the words, but for the spec's."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name != "spec.json")
    return {path.name for path in files if WORDS.encode() in path.read_bytes()}


def test_what_an_agent_wrote_is_erased_and_the_log_is_whole(failed: CommandLine) -> None:
    """Gone from the database and `error.log`; its own files stay. The log tells who did so and why, and verifies."""
    assert "error.log" in holders(failed.home)
    done = failed("erase", "it", "--reason", "a person asked", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (told["texts"], told["is_scrubbed"]) == (1, True)
    assert holders(failed.home) == {"stderr.log"}
    event = json.loads(failed("events", "--json").stdout.splitlines()[-2])
    assert (event["type"], event["actor"]) == (
        "PAYLOADS_ERASED",
        told["actor"] if "actor" in told else event["actor"],
    )
    assert event["data"]["reason"] == "a person asked"
    assert len(event["data"]["digests"]) == 1
    assert failed("verify").returncode == 0
    assert failed("rebuild", "--check").returncode == 0
    assert next(failed.home.rglob("error.log")).read_text().startswith("[erased by uid:")


def test_an_erased_line_could_be_guessed_by_its_hash(failed: CommandLine) -> None:
    """No event and no row keeps a hash of it without salt; the failure counts as one of its cause and exit."""
    mark = failed.json("why", "it")["alike"]["fingerprint"]
    assert mark in failed("report", "failures", "--by", "fingerprint").stdout
    assert failed("erase", "it").returncode == 0
    guesses = (mark, hashlib.sha256(WORDS.encode()).hexdigest()[:16])
    for file in (path for path in failed.home.rglob("*") if path.is_file()):
        assert not [guess for guess in guesses if guess.encode() in file.read_bytes()], file
    (row,) = failed.json("report", "failures", "--by", "fingerprint")["rows"]
    told = failed.json("why", "it")
    assert (row["group"], row["error_line"]) == (told["alike"]["fingerprint"], "(erased)")
    assert (told["alike"]["line"], told["error_line"]) == ("(erased)", "")
    for check in (("verify",), ("rebuild", "--check"), ("rebuild",), ("rebuild", "--check")):
        assert failed(*check).returncode == 0


FORGED = "UPDATE payloads SET content = 'somebody typed rm'"
REMOVED = "DELETE FROM payloads"
ERASED = "UPDATE payloads SET content = NULL, salt = NULL, erased_at = 1, erased_by = 'uid:0/cli'"


@pytest.mark.damages
@pytest.mark.parametrize(
    ("change", "said"), [(FORGED, "is not what"), (REMOVED, "is missing"), (ERASED, "no event says so")]
)
def test_a_forged_last_word_was_believed(failed: CommandLine, change: str, said: str) -> None:
    """Texts beside the log are held against the digests in it: no other words, no silent loss."""
    assert failed("verify").returncode == 0
    with closing(sqlite3.connect(failed.home / "events.db")) as database, database:
        database.execute(change)
    done = failed("verify")
    assert (done.returncode, said in done.stderr) == (6, True), done.stderr
    assert "somebody typed rm" not in failed("why", "it").stdout


def test_output_is_erased_on_request(failed: CommandLine) -> None:
    """With `--output` what it wrote to its files goes, too, and nothing is left; again, nothing is to be done."""
    assert failed("erase", "it", "--output").returncode == 0
    assert holders(failed.home) == set()
    again = failed("erase", "it")
    assert (again.returncode, again.stdout.split("\t")[1]) == (0, "0 texts erased")


def test_a_holder_erases_for_a_command(failed: CommandLine) -> None:
    """The coordinator that holds the home does it for who asks; a living agent writes on."""
    talks = FAILS.model_copy(update={"command": ("sh", "-c", TALKS)})
    with Manager.open(failed.home) as manager:
        log = failed.home / manager.spawn(talks, "talks").directory / "stdout.log"
        until(lambda: WORDS.encode() in log.read_bytes())
        for name in ("it", "talks"):
            assert failed("erase", name, "--output").returncode == 0
        assert holders(failed.home) == set()
        until(lambda: log.read_bytes().startswith(b"more\n"))


@pytest.mark.parametrize("point", POINTS)
def test_an_erasing_that_was_killed_is_finished_by_the_next(failed: CommandLine, point: str) -> None:
    """Wherever it dies the log is whole, and the same again leaves nothing."""
    assert failed("erase", "it", "--output", OUTLIVE_CRASH=point).returncode == -9
    with Manager.open(failed.home) as manager:  # which verifies the last rows of the log
        manager.erase("it", output=True)
    assert holders(failed.home) == set()


def test_a_failed_start_told_what_was_written(outlive: CommandLine) -> None:
    """The error of a failed start has the last lines, read from beside the log."""
    with Manager.open(outlive.home) as manager:
        spec = AgentSpec(command=("sh", "-c", "echo why >&2; exit 3"), start_window_seconds=30)
        with pytest.raises(StartFailed, match="\n  why"):
            manager.spawn(spec, "it")
        assert manager.erase("it", reason="done").texts == 1
        assert manager.erase("it").texts == 0


def test_an_agent_whose_directory_is_gone_could_not_be_erased(failed: CommandLine) -> None:
    """Its texts in the database are all that is left, and go."""
    [directory] = (failed.home / "agents").iterdir()
    shutil.rmtree(directory)
    done = failed("erase", "it", "--output", "--reason", "a person asked")
    assert done.returncode == 0, done.stderr
    assert holders(failed.home) == set()
