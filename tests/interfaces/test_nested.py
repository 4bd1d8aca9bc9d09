"""Agents that are started by an agent, in the same home."""

from __future__ import annotations

import shlex

from tests.interfaces.command_line import PROGRAM, CommandLine, until


def test_a_listing_told_another_tree_than_the_status(outlive: CommandLine) -> None:
    """An agent that another one started is in its tree, whoever else is asked about: its shim is looked at, too."""
    inner = shlex.join(
        [*PROGRAM, "--home", str(outlive.home), "run", "--name", "inner", "--", "sleep", "600"]
    )
    outlive.run("--name", "outer", "--", "sh", "-c", f"{inner}; exec sleep 600")
    # What is left of it once the command is done: itself, a shim and an agent.
    until(lambda: _processes(outlive, "status", "outer") == {"outer": 3})
    assert _processes(outlive, "ps") == {"outer": 3, "inner": 1}


def _processes(outlive: CommandLine, *words: str) -> dict[str, int]:
    return {agent["name"]: agent["processes"] for agent in outlive.json(*words)["agents"]}
