"""`why` as people and programs read it."""

from __future__ import annotations

import json
from typing import Any

from manager import AgentSpec, Manager, RestartPolicy
from tests.interfaces.command_line import CommandLine

HOSTILE = r"\033]0;owned\007**bold** <script>alert(1)</script> \`\`\`\` [x](y) error 17 \342\200\256"


def _die(outlive: CommandLine, name: str, words: str, **spec: Any) -> None:
    """An agent that fails after its start window and says `words` (octal escapes of printf) on stderr."""
    script = f'sleep 0.3; printf "{words}\\n" >&2; exit 3'
    with Manager.open(outlive.home) as manager:
        manager.spawn(AgentSpec(command=("sh", "-c", script), **spec), name)
        assert manager.wait(name, timeout=60).state == "FAILED"


def test_the_cause_comes_first(outlive: CommandLine) -> None:
    """One sentence with the cause, then the sections; exit 0, for the question was answered."""
    _die(outlive, "importer", "fatal: row 17 is bad")
    done = outlive("why", "importer")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == (
        "importer (attempt 1) failed: it ended by itself with exit code 3; it said: fatal: row 17 is bad."
    )
    titles = [line for line in rest if line and not line.startswith(" ")]
    assert titles[:3] == ["cause", "evidence", "who asked"]
    assert titles[-1] == "proof"
    assert "last output (stderr)" in titles


def test_its_json_has_every_part(outlive: CommandLine) -> None:
    """`--json` is `--format json`; positions and hashes of the proof are those of the log."""
    _die(outlive, "a", "fatal: row 17 is bad")
    _die(
        outlive,
        "b",
        "fatal: row 99 is bad",
        restart=RestartPolicy(mode="on-failure", max_restarts=1, backoff_seconds=0.01),
    )
    found = outlive.json("why", "b")
    assert found == outlive.json("why", "b", "--format", "json")
    assert (found["schema"], found["name"], found["attempt"]) == ("outlive.why/1", "b", 2)
    assert (found["verdict"]["cause"], found["verdict"]["certainty"]) == ("exit", "certain")
    assert (found["last_output"], found["last_output_stream"]) == (["fatal: row 99 is bad"], "stderr")
    assert found["followed"]["what"] == "gave up"
    alike = found["alike"]
    assert (alike["line"], alike["count"], alike["other_agents"]) == ("fatal: row <n> is bad", 2, 1)
    assert [(one["name"], one["attempt"]) for one in alike["newest"]] == [("b", 1), ("a", 1)]
    log = [json.loads(line) for line in outlive("events", "--json").stdout.splitlines()]
    hashes = {event["position"]: event["hash"] for event in log}
    for part in ("first", "last", "head", "outside"):
        assert hashes[found["proof"][part]["position"]] == found["proof"][part]["hash"]
    assert found["proof"]["head"]["position"] == len(log)
    checkpoint = found["proof"]["checkpoint"]  # the coordinator wrote one when it left
    assert hashes[checkpoint["position"]] == checkpoint["hash"]
    assert checkpoint["is_held"]
    earlier = outlive.json("why", "b", "--attempt", "1")
    assert earlier["attempt"] == 1
    assert earlier["followed"]["next_attempt"]["cause"] == "exit"


def test_of_an_earlier_moment_it_tells_what_was_known_then(outlive: CommandLine) -> None:
    """Before its end an attempt runs, as far as is known; what followed, and who failed alike, had not come yet."""
    _die(outlive, "a", "fatal: row 17 is bad")
    _die(outlive, "b", "fatal: row 99 is bad")
    log = [json.loads(line) for line in outlive("events", "a", "--json").stdout.splitlines()]
    places = {event["type"]: str(event["position"]) for event in log}
    then = outlive.json("at", places["RUNNING"], "why", "a")
    assert then["verdict"]["cause"] == "still running"
    assert then["proof"]["head"]["position"] == int(places["RUNNING"])
    for form, heading in (("markdown", "# a has not ended"), ("html", "<title>a has not ended</title>")):
        page = outlive("at", places["RUNNING"], "why", "a", "--format", form).stdout
        assert heading in page.splitlines()  # it was called "Why a ended"
    then = outlive.json("at", places["FAILED"], "why", "a")
    assert (then["verdict"]["cause"], then["alike"]["count"]) == ("exit", 0)
    assert outlive.json("why", "a")["alike"]["count"] == 1


def test_what_an_agent_wrote_is_harmless(outlive: CommandLine) -> None:
    """Nothing of an agent acts on a terminal, or is markup in a report."""
    _die(outlive, "odd", HOSTILE, labels={"note": "<b>*n*</b>"})
    text = outlive("why", "odd").stdout
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b]0;owned" in text
    markdown = outlive("why", "odd", "--format", "markdown").stdout
    outside = [line for line in _outside_fences(markdown) if line]
    assert any(r"\<script\>" in line for line in outside)
    assert not any(
        "<script>" in line.replace(r"\<", "") or "<b>" in line.replace(r"\<", "") for line in outside
    )
    assert "\x1b" not in markdown
    assert outlive("why", "odd", "--json").stdout.isascii()


def test_it_refuses_what_there_is_not(outlive: CommandLine) -> None:
    """Exit 4 for an agent that there is not, on a bare home too; 2 for an attempt that there was not."""
    assert outlive("why", "nobody").returncode == 4
    _die(outlive, "x", "no")
    assert outlive("why", "nobody").returncode == 4
    done = outlive("why", "x", "--attempt", "7")
    assert (done.returncode, done.stderr) == (
        2,
        "outlive: cannot tell of attempt 7 of x: the last one is 1; choose one of 1 to 1\n",
    )


def _outside_fences(markdown: str) -> list[str]:
    found, fence = [], None
    for line in markdown.splitlines():
        if fence is None and line.startswith("```"):
            fence = line.removesuffix("text")
        elif line == fence:
            fence = None
        elif fence is None:
            found.append(line)
    assert fence is None
    return found
