"""A mutant may take any process for an agent's, and kill it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation

ALONE = """
import os
from pathlib import Path

def test_alone():
    others = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    assert os.readlink("/proc/self/ns/pid") != {outside!r}
    assert len(others) < 10, others
"""


@pytest.mark.root
def test_a_mutant_could_end_any_process_of_root(tmp_path: Path) -> None:
    """The tests that judge it run in a pid namespace of their own, where it sees no process but theirs."""
    tree = mutation.copy_of_the_tree(tmp_path)
    (tree / "tests" / "test_alone.py").write_text(ALONE.format(outside=os.readlink("/proc/self/ns/pid")))
    assert mutation.tests_pass(tree, ["tests/test_alone.py"], mutated=True)
