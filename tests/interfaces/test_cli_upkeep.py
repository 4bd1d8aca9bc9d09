"""The log against itself, against its projections and against the system, by the command line."""

from __future__ import annotations

import json
import sqlite3

import pytest

from eventstore.revision import HEAD
from tests.interfaces.command_line import CommandLine, until


def test_verify_names_the_first_bad_position(outlive: CommandLine) -> None:
    """A log that was changed by hand is noticed: exit 6 and where."""
    outlive.run("--name", "x", "--", "true")
    done = outlive("verify")
    assert done.returncode == 0
    assert done.stdout.startswith("intact: ")
    with sqlite3.connect(outlive.home / "events.db") as database:
        for (trigger,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("UPDATE events SET actor = 'somebody else' WHERE position = 3")
    done = outlive("verify")
    assert done.returncode == 6
    assert "cannot trust the log from position 3 on: row changed" in done.stderr
    done = outlive("verify", "--json")
    assert done.returncode == 6
    assert json.loads(done.stdout)["position"] == 3
    done = outlive("verify", "--to", "2")  # what vouches for it comes after that row
    assert (done.returncode, "known to be as written: 2 events" in done.stderr) == (6, True)


def test_rebuild_and_its_check(outlive: CommandLine) -> None:
    """A row that was changed by hand is found by `rebuild --check` with exit 6, and mended by `rebuild`."""
    outlive.run("--name", "x", "--", "true")
    assert outlive("rebuild", "--check").returncode == 0
    with sqlite3.connect(outlive.home / "events.db") as database:
        database.execute("UPDATE agents SET exit_code = 9")
    done = outlive("rebuild", "--check")
    assert done.returncode == 6
    assert "exit_code\t9\t0" in done.stdout
    assert (
        json.loads(outlive("rebuild", "--check", "--json").stdout)["differences"][0]["column"] == "exit_code"
    )
    assert outlive("rebuild").returncode == 0
    assert outlive("rebuild", "--check").returncode == 0
    assert outlive.json("status", "x")["agents"][0]["exit"]["code"] == 0


def test_recover_tells_what_it_found(outlive: CommandLine) -> None:
    """An agent outlives the command that started it, and `recover` re-attaches it; a second time finds the same."""
    outlive.run("--name", "x", "--", "sleep", "600")
    for _ in range(2):
        report = outlive.json("recover")
        assert (report["reattached"], report["ended"], report["lost"]) == (1, 0, 0)
    assert "reattached\t1" in outlive("recover").stdout


def test_db_current_and_upgrade(outlive: CommandLine) -> None:
    """`db upgrade` makes or upgrades the database, once; `db current` says which schema it has."""
    assert outlive.json("db", "current")["current"] is None
    assert not outlive.home.exists()
    assert outlive("db", "upgrade").returncode == 0
    found = outlive.json("db", "current")
    assert found["current"] == found["needed"]
    assert "nothing to do" in outlive("db", "upgrade").stdout
    assert outlive("doctor").returncode == 0


def test_doctor_looks_everywhere(outlive: CommandLine) -> None:
    """`doctor` looks at the home, the kernel, the disk, the database and the directories that the log does not know."""
    outlive.run("--name", "x", "--", "true")
    report = outlive.json("doctor")
    assert report["ok"] is True
    names = {check["name"] for check in report["checks"]}
    assert names >= {"home", "coordinator", "kernel pidfd", "sqlite", "disk", "schema", "database", "log"}
    by_name = {check["name"]: check for check in report["checks"]}
    assert by_name["projections"]["verdict"] == "ok"  # that a report has still to take some in is no fault
    with sqlite3.connect(outlive.home / "events.db") as database:
        database.execute("UPDATE projections SET position = position - 1 WHERE name = 'agents'")
    assert "agents at" in outlive("doctor").stdout
    assert outlive("rebuild").returncode == 0
    (outlive.home / "agents" / "stray" / "1").mkdir(parents=True)
    report = outlive.json("doctor")
    assert any(
        check["name"] == "attempts" and "agents/stray/1" in check["detail"] for check in report["checks"]
    )
    assert report["ok"] is True


def test_the_doctor_did_not_see_that_the_triggers_were_gone(outlive: CommandLine) -> None:
    """Nor did anything put them back: `verify` named no command. What was changed meanwhile is told beside it."""
    outlive.run("--name", "x", "--", "true")
    with sqlite3.connect(outlive.home / "events.db") as database:
        database.execute("DROP TRIGGER events_no_update")
        database.execute("UPDATE agents SET exit_code = 9")
    assert outlive("doctor").returncode == 1
    told = json.loads(outlive("verify", "--json").stdout)
    row, triggers = told["faults"]
    assert "exit_code" in row
    assert triggers.startswith("its triggers are not those that keep the log from being changed; ")
    assert outlive("db", "upgrade").stdout == f"{HEAD}\tput back the triggers that guard the log\n"
    assert outlive("db", "upgrade").stdout == f"{HEAD}\t(nothing to do)\n"
    assert outlive("doctor").returncode == 0
    assert outlive("rebuild").returncode == 0
    assert outlive("verify").returncode == 0


def test_an_upgrade_made_a_new_log_where_one_was_gone(outlive: CommandLine) -> None:
    """It is refused, and the doctor says so too; before, the one made an empty log and the other said ok."""
    outlive.run("--", "true")
    for path in outlive.home.glob("events.db*"):
        if not path.name.endswith(".lock"):
            path.unlink()
    refused = outlive("db", "upgrade")
    assert refused.returncode == 6, refused
    assert "cannot use the log: there is none" in refused.stderr
    assert not (outlive.home / "events.db").exists()
    report = json.loads(outlive("doctor", "--json").stdout)
    assert [one["verdict"] for one in report["checks"] if one["name"] == "database"] == ["bad"]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("-h",), ("--version",), ("run", "--help"), ("db", "upgrade", "-h")]
)
def test_help(outlive: CommandLine, arguments: tuple[str, ...]) -> None:
    """Help and version need no home and end with 0."""
    done = outlive(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not outlive.home.exists()


def test_recover_left_a_stop_half_done(outlive: CommandLine) -> None:
    """Begun by a command that did not wait: `recover` goes through its stages to the end, and says so."""
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    outlive.run("--name", "deaf", "--", "sh", "-c", deaf)
    until(lambda: "ready" in outlive("logs", "deaf").stdout)
    assert outlive("stop", "deaf", "--no-wait", "--grace", "1s,1s,10s").returncode == 0
    assert outlive.json("status", "deaf")["agents"][0]["state"] == "STOPPING"
    done = outlive("recover")
    assert (done.returncode, "deaf: its stop was half done and went on: KILLED" in done.stderr) == (0, True)
    assert outlive.json("status", "deaf")["agents"][0]["state"] == "KILLED"
