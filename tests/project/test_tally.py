"""The table of faults is honest: a run that was begun and failed is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
def test_holds(tally):
    tally("1 holds", runs=3)

def test_breaks(tally):
    tally("2 breaks", runs=2)
    raise AssertionError

def test_breaks_at_once(tally):
    raise AssertionError

def test_counts(tally):
    tally("3 counts", runs=4, violations=2)
    raise AssertionError

def test_is_about_something_else():
    raise AssertionError
"""
TABLE = """
       3           0  1 holds
       2           0  2 breaks
       4           2  3 counts
       1           1  - failed: test_it.py::test_breaks
       1           1  - failed: test_it.py::test_breaks_at_once
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_that_failed_was_not_in_the_table_of_faults(tmp_path: Path, workers: str) -> None:
    """A test that fails before it tells what it did has a row, with a violation; one that has counted it, no other."""
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-n", workers, "--rootdir", "."]
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TALLY"))}
    done = subprocess.run(
        [*command, "test_it.py"],
        cwd=tmp_path,
        env={**outer, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"    runs  violations  fault{TABLE.rstrip()}\n" in done.stdout, done.stdout + done.stderr
