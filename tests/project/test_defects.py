"""Each defect that was mended has its row, with tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.project.source import ROOT

FIXED = re.compile(r"^### Fixed$(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^- .*", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_a_mended_defect_had_no_test_that_a_reader_could_find() -> None:
    """There is a row for each entry under "Fixed", and it names a test, or says "none: " and why there is none."""
    entries = [line for part in FIXED.findall(_text("CHANGELOG.md")) for line in ENTRY.findall(part)]
    assert len(_rows()) == len(entries), "docs/defects.md has a row for each entry under Fixed, in its order"
    assert not [row for row in _rows() if not NAMED.search(row) and "| none: " not in row]


def test_a_test_of_a_defect_had_another_name_than_its_row_has() -> None:
    """It was renamed, moved or removed: the row goes with it."""
    lines = [line for line in _text("docs/defects.md").splitlines() if line.startswith("| ")]
    named = {match for line in lines for match in NAMED.findall(line)}
    assert len(named) > 100
    assert not [f"{path}::{name}" for path, name in sorted(named) if name not in _tests(path)]
    odd = [line for line in lines if line.count("::") != len(NAMED.findall(line))]
    assert not odd, "tests are named as `tests/…/test_….py::test_…`"


def _rows() -> list[str]:
    table = _text("docs/defects.md").partition("\n| --- |")[2].partition("\n\n")[0]
    return table.splitlines()[1:]


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def _tests(path: str) -> frozenset[str]:
    """The names of the tests of a file; none where there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return frozenset(
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )
