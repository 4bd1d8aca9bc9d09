"""Lives of commands: each `outlive` command is a coordinator for a moment, and dies at a named point."""

from __future__ import annotations

import subprocess

from tests.faults.crashes import Crash, Crashes
from tests.faults.run import Run

QUICK = ("--start-window", "20ms", "--stop-grace", "0.05,0.05,20")


def commands(run: Run, life: int) -> list[tuple[str, ...]]:
    """What a life asks for, about agents of its own."""

    def start(kind: str, *behaviour: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
        return ("run", "--name", f"{kind}-{life}", *QUICK, *options, "--", *run.program(*behaviour))

    leaves = ("--fork", "1", "--exit-after", "0.1", "--code", "4")
    daemon = ("--daemonise", "--daemon-seconds", "0.2", "--exit-after", "0.1", "--code", "5")
    return [
        start("stubborn", "--ignore", "TERM", "--fork", "1", options=("--cgroup",)),
        start("litters", *leaves, options=("--cgroup", "--restart", "on-failure:1")),
        start("tree", *daemon, options=("--until", "tree")),
        ("run", "--name", f"missing-{life}", *QUICK, "--", "/nonexistent/program"),
        start("keeper", "--beat"),
        ("signal", "USR1", f"keeper-{life}"),
        ("health", f"keeper-{life}"),
        ("stop", f"stubborn-{life}"),
        ("restart", f"keeper-{life}"),
        ("recover",),
        ("wait", f"tree-{life}"),
        ("kill", f"keeper-{life}"),
        ("rebuild",),
    ]


def command_dies(run: Run, crashes: Crashes, crash: Crash) -> None:
    """The commands of a life, one after the other, up to the one that dies at `crash`."""
    variables = crashes.variables(crash)
    for arguments in commands(run, crashes.fresh()):
        done = command(run, *arguments, **variables)
        if crashes.struck(crash):
            assert done.returncode == -9, done
            return
    raise AssertionError(f"{crash} was not reached by any command")


def command(run: Run, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """An `outlive` command in the run's environment, which its agents get."""
    return run.outlive(*arguments, **{**run.environment(), **variables})
