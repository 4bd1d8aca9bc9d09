"""Each row of the table of faults names the files that try it, and `make faults` runs tests of each of them."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.project.source import ROOT

FAULTS = ROOT / "tests" / "faults"
TALLIED = re.compile(r"(\d{1,2}) [a-zA-Z]")


def test_each_row_has_its_files() -> None:
    """The rows are those of the table, and each name is that of a file."""
    text = _document()
    rows = [int(row) for row in re.findall(r"^\| (\d+) \|", text.partition("## Security")[0], re.MULTILINE)]
    assert rows == sorted(_files())
    assert all(path.is_file() for files in _files().values() for path in files)


def test_a_file_is_named_in_the_row_that_it_counts_for() -> None:
    """As what it counts is told in the table that ends the output."""
    lacking = {
        (int(match[1]), path.name)
        for path in FAULTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (match := TALLIED.match(node.value)) and path not in _files().get(int(match[1]), [path])
    }
    assert not lacking


def test_a_documented_part_selected_nothing() -> None:
    """By the command that `make faults` runs for a part, each file has tests; security and the fuzzed readers, too."""
    parts = sorted({str(path.relative_to(ROOT)) for files in _files().values() for path in files})
    parts += ["tests/fuzz", "tests/security"]
    assert all(f"`{part}`" in _document() for part in parts[-2:])
    command = ["make", "--no-print-directory", "-n", "faults", f"PYTEST_ARGS={' '.join(parts)}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[
        -1
    ]
    arguments = shlex.split(told)
    selected = arguments[arguments.index("-m", arguments.index("pytest")) :]
    assert selected[2:] == parts
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *selected],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    collected = re.findall(r"^(tests/\S+): [1-9]", done.stdout, re.MULTILINE)
    assert not [part for part in parts if not any(path.startswith(part) for path in collected)], done.stdout


def _document() -> str:
    return (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


@cache
def _files() -> dict[int, list[Path]]:
    """The files that are documented, by row; a pattern that fits nothing stays what it is."""
    listed = re.search(r"Files in `tests/faults`[^:]*:(.*?)\.\s+3, 4 and 5 ", _document(), re.DOTALL)
    assert listed is not None
    files = {}
    for one in listed[1].split("·"):
        row, names = one.split(maxsplit=1)
        patterns = names.strip().strip("`").split()
        files[int(row)] = [path for name in patterns for path in sorted(FAULTS.glob(name)) or [FAULTS / name]]
    return files
