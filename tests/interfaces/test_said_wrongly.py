"""What commands once said that was not so, a test for each."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.interfaces.command_line import CommandLine, end_all, until


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A home from which two agents have been pruned one after the other, and that has a third; nobody changes it."""
    directory = tmp_path_factory.mktemp("pruned")
    outlive = CommandLine(home=directory / "home", directory=directory)
    for name in ("oldest", "old"):
        _ended(outlive, name)
        assert outlive("prune", "--before", "0s", "--export", f"{name}.jsonl").returncode == 0
    _ended(outlive, "new")
    yield outlive
    end_all(outlive.home)


def _ended(outlive: CommandLine, name: str) -> None:
    outlive.run("--name", name, "--start-window", "0s", "--", "true")
    assert outlive("wait", name).returncode == 0


def _position(outlive: CommandLine, kind: str) -> str:
    line = outlive("events", "--type", kind, "--json").stdout.splitlines()[-1]
    return str(json.loads(line)["position"])


def test_a_prune_beyond_the_end_of_the_log_removed_everything(pruned: CommandLine) -> None:
    """A mistyped position took the whole log for old."""
    done = pruned("prune", "--before", "99999999", "--export", "all.jsonl")
    assert (done.returncode, "the log ends at" in done.stderr) == (2, True), done
    assert not (pruned.directory / "all.jsonl").exists()
    assert pruned("status", "new").returncode == 3


def test_a_log_was_intact_by_a_file_of_which_all_had_been_pruned(pruned: CommandLine) -> None:
    """Nothing of it could be compared."""
    done = pruned("verify", "--against", "oldest.jsonl")
    assert (done.returncode, "was pruned up to" in done.stderr) == (2, True), done


def test_an_agent_that_was_pruned_was_a_name_that_nobody_knew(pruned: CommandLine) -> None:
    """It is said that there was a prune, and where the export is named."""
    done = pruned("status", "old")
    assert (done.returncode, "were pruned: LOG_PRUNED names the export" in done.stderr) == (4, True), done


def test_the_doctor_counted_events_that_had_been_pruned(pruned: CommandLine) -> None:
    """Those that are left, and after how many."""
    head = int(_position(pruned, "COORDINATOR_STOPPED"))
    before = int(json.loads(pruned("export").stdout.splitlines()[0])["from"]) - 1
    assert before > 0
    checks = {check["name"]: check["detail"] for check in pruned.json("doctor")["checks"]}
    assert checks["log"].startswith(f"{head - before} events after {before} that were pruned, head ")


def test_a_rebuild_told_its_position_as_a_number_of_events(pruned: CommandLine) -> None:
    """There were fewer, since some had been pruned."""
    head = pruned.json("verify")["head"]["position"]
    assert pruned("rebuild").stdout == f"rebuilt from the events up to position {head}\n"


def test_an_agent_that_had_not_ended_had_a_page_why_it_ended(outlive: CommandLine) -> None:
    """In each form that has a heading."""
    outlive.run("--name", "a", "--start-window", "0s", "--", "sleep", "600")
    for form, heading in (("markdown", "# a has not ended"), ("html", "<title>a has not ended</title>")):
        assert heading in outlive("why", "a", "--format", form).stdout.splitlines()


def test_the_doctor_warned_of_reports_that_merely_follow_the_log(outlive: CommandLine) -> None:
    """And advised to rebuild them: the next report takes in what is missing."""
    _ended(outlive, "a")
    assert outlive("report", "failures").returncode == 0
    _ended(outlive, "b")
    [follows] = [one for one in outlive.json("doctor")["checks"] if one["name"] == "projections"]
    assert (follows["verdict"], "the next report or coordinator takes them in" in follows["detail"]) == (
        "ok",
        True,
    ), follows


def test_a_process_for_which_nobody_had_looked_was_not_seen_alive(outlive: CommandLine) -> None:
    """At a moment before STARTED: the past cannot be looked at."""
    outlive.run("--name", "a", "--start-window", "0s", "--", "sleep", "600")
    [agent] = outlive.json("at", _position(outlive, "SPAWNING"), "status", "a")["agents"]
    assert (agent["state"], agent["is_alive"]) == ("SPAWNING", None)


def test_an_agent_of_the_past_certainly_ran_still(outlive: CommandLine) -> None:
    """As far as was recorded by then; and in a home without a log there is no past to ask for."""
    done = outlive("at", "1", "ps")
    assert (done.returncode, "nothing was recorded there yet" in done.stderr) == (2, True), done
    outlive.run("--name", "a", "--start-window", "0s", "--", "sleep", "600")
    found = outlive.json("at", _position(outlive, "STARTED"), "why", "a")
    assert (found["verdict"]["cause"], found["verdict"]["certainty"]) == ("still running", "likely")
    assert found["as_of"] is not None


@pytest.mark.damages
def test_events_were_as_written_of_which_no_more_than_the_chain_was_whole(outlive: CommandLine) -> None:
    """Without the head that is kept outside, nobody knows whether they are those that were written."""
    _ended(outlive, "a")
    for name in ("head", "checkpoints.jsonl"):
        (outlive.home / name).unlink()
    told = outlive("verify").stderr
    assert "fit together, and nothing outside says that they are those that were written" in told
    assert "known to be as written" not in told


def test_the_time_of_the_next_attempt_was_utc(outlive: CommandLine) -> None:
    """It is local, as all other times, unless `--utc` is given."""
    outlive.run("--name", "a", "--restart", "always", "--", "sh", "-c", "sleep 1")
    until(lambda: list(outlive.home.glob("agents/*/1/exit.json")))
    assert outlive("recover").returncode == 0
    for command in (("ps",), ("status", "a")):
        zoned = [outlive(*command, *utc, TZ="UTC-09").stdout for utc in ((), ("--utc",))]
        found = [re.search(r"next attempt at (\S+ \S+)", text) for text in zoned]
        local, utc = (datetime.fromisoformat(one[1].removesuffix("Z")) for one in found if one)
        assert local - utc == timedelta(hours=9), command


def test_a_key_was_printed_without_a_word_of_what_it_is(outlive: CommandLine) -> None:
    """Its id and its file are named."""
    for verb in ("new", "show"):
        said = outlive("keys", verb, "key.pem").stdout
        assert re.fullmatch(r"id {4}\S+\nfile {2}\S*key\.pem\n", said), said


@pytest.mark.damages
def test_the_events_of_an_agent_took_the_names_of_all(outlive: CommandLine) -> None:
    """The row of another cannot even be read, and nobody needs it."""
    _ended(outlive, "other")
    outlive.run("--name", "a", "--start-window", "0s", "--", "sleep", "600")
    with sqlite3.connect(outlive.home / "events.db") as database:
        database.execute("UPDATE agents SET command = 'no JSON' WHERE name = 'other'")
    assert outlive("ps", "--all").returncode != 0
    done = outlive("events", "a", "--after", _position(outlive, "SPAWNING"))
    assert (done.returncode, "  a  " in done.stdout) == (0, True), done


def test_a_restart_ran_out_of_time_where_another_order_had_stopped_it(
    outlive: CommandLine, tmp_path: Path
) -> None:
    """What it had started was being stopped by then: exit 8, as for any restart that is overtaken, and not 124."""
    script = "[ $OUTLIVE_ATTEMPT = 1 ] || trap '' TERM; touch ready; while :; do sleep 0.1; done"
    start = ("--name", "a", "--no-wait", "--start-window", "60s", "--stop-grace", "60s,60s,60s")
    outlive.run(*start, "--cwd", str(tmp_path), "--", "sh", "-c", script)
    until((tmp_path / "ready").exists)
    (tmp_path / "ready").unlink()
    restart = outlive.start("restart", "a")
    until((tmp_path / "ready").exists)
    assert outlive("stop", "a", "--no-wait").returncode == 0
    _, said = restart.communicate(timeout=60)
    assert (restart.returncode, "it was stopped meanwhile" in said) == (8, True), said
