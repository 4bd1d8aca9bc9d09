"""The command as it is installed: it looks at processes before it loads what it shows them with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from manager import firstlook
from manager.vitals import Sampler, Target
from tests.interfaces.command_line import CommandLine


def test_the_first_look_is_taken_before_anything_is_loaded(outlive: CommandLine) -> None:
    """`ps` of an agent that computes shows its CPU use, and what loads little still does."""
    outlive.run("--name", "busy", "--", "sh", "-c", "while :; do :; done")
    done = subprocess.run(
        [sys.executable, "-m", "manager.cli.start", "ps", "--json"],
        env=outlive.environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    (busy,) = json.loads(done.stdout)["agents"]
    assert busy["is_alive"]
    assert busy["cpu_percent"] > 0


def test_a_look_that_was_taken_is_the_first_of_two() -> None:
    """Who looks next compares with it, and nobody after that."""
    firstlook.take()
    time.sleep(0.15)
    (seen,) = Sampler().sample([Target(os.getpid(), None)])
    assert seen.is_alive
    assert seen.cpu_percent is not None
    assert firstlook.given() is None


def test_nothing_is_looked_at_where_procfs_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil's way has no first look."""
    monkeypatch.setenv("OUTLIVE_DISABLE", "procfs")
    firstlook.take()
    assert firstlook.given() is None
