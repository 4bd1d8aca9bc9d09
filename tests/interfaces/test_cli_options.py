"""Options in every place where they may stand, options that speak against each other, and counts in words."""

from __future__ import annotations

import pytest

from projections.quantities import counted
from tests.interfaces.command_line import CommandLine, until


def test_global_options_before_nested_commands(outlive: CommandLine) -> None:
    """They may stand before the command's name, between a group and its command, and after both."""
    assert outlive("recover").returncode == 0
    for arguments in (
        ("--json", "--takeover", "db", "upgrade"),
        ("db", "--takeover", "--json", "upgrade"),
        ("db", "upgrade", "--takeover", "--json"),
        ("--takeover", "--json", "recover"),
        ("--takeover", "--json", "stop", "--all"),
        ("--json", "report", "failures"),
        ("--json", "db", "current"),
        ("--utc", "--json", "at", "0s", "ps"),
    ):
        done = outlive(*arguments)
        assert (done.returncode, done.stdout[:1]) == (0, "{"), done


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--takeover", "ps"), "ps takes no lock"),
        (("--takeover", "at", "0s", "ps"), "at takes no lock"),
        (("--takeover", "db", "current"), "current takes no lock"),
        (("why", "x", "--json", "--format", "html"), "'--json' and '--format html'"),
        (("--json", "why", "x", "--format", "text"), "'--json' and '--format text'"),
        (("report", "failures", "--json", "--format", "csv"), "'--json' and '--format csv'"),
        (("report", "risks", "--json", "--format", "table"), "'--json' and '--format table'"),
        (("sql", "SELECT 1", "--json", "--format", "csv"), "'--json' and '--format csv'"),
        (("events", "--since", "1h", "--until", "2h"), "ends before it begins"),
        (("report", "failures", "--since", "1h", "--until", "2h"), "ends before it begins"),
        (("report", "risks", "--since", "1h", "--until", "2h"), "ends before it begins"),
        (("report", "risks", "--threshold", "5"), "scores are from 0 to 1"),
        (("report", "risks", "--threshold", "-1"), "scores are from 0 to 1"),
        (("report", "risks", "--threshold", "nan"), "scores are from 0 to 1"),
        (("report", "anomalies", "--threshold", "-0.1"), "scores are 0 or more"),
        (("report", "anomalies", "--threshold", "inf"), "scores are 0 or more"),
    ],
)
def test_options_that_make_no_sense(outlive: CommandLine, arguments: tuple[str, ...], word: str) -> None:
    """Exit 2 and one line that says why: before, one of the two won, or nothing was found, without a word."""
    done = outlive(*arguments)
    assert done.returncode == 2, done
    assert done.stderr.startswith("outlive: cannot ")
    assert word in done.stderr
    assert done.stdout == ""
    assert not outlive.home.exists()


def test_what_asks_for_json_twice_gets_it(outlive: CommandLine) -> None:
    """`--json` and `--format json` are the same."""
    done = outlive("report", "failures", "--json", "--format", "json")
    assert (done.returncode, done.stdout[:1]) == (0, "{")


def test_one_is_singular(outlive: CommandLine) -> None:
    """One event, one process, one thread, one agent; two events."""
    outlive("recover")
    told = outlive("verify").stdout
    number = int(told.split("intact: ")[1].split()[0])
    assert f"intact: {counted(number, 'event')}, " in told
    assert (counted(1, "event"), counted(2, "event")) == ("1 event", "2 events")
    assert counted(2, "process", "processes") == "2 processes"
    outlive.run("--name", "one", "--", "sleep", "600")
    screen = outlive("status", "one").stdout
    assert "1 thread, 1 process, up " in screen
    assert "1 agent left running" in screen or "1 agent left running" in outlive("events").stdout


def test_risks_are_of_those_that_may_still_fail(outlive: CommandLine) -> None:
    """An agent that failed four times and was cancelled while it waited for the next attempt is no risk."""
    spec = ("--restart", "on-failure:9", "--start-window", "0s", "--name", "spiral")
    process = outlive.start("run", "-f", *spec, "--", "sh", "-c", "sleep 0.2; exit 3")
    found = until(lambda: outlive.json("report", "risks", "--threshold", "0.1")["findings"])
    assert [one["kind"] for one in found] == ["restart spiral"]
    assert outlive("stop", "spiral").returncode == 0
    process.wait(timeout=30)
    assert outlive.json("report", "risks", "--threshold", "0.1")["findings"] == []
