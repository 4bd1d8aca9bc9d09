"""`python -m tests.faults.oracle RUN`: the report as JSON; exit 0 clean, 1 violated, 2 cannot be decided."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.oracle.check import examine
from tests.faults.oracle.report import Undecidable


def main(arguments: list[str]) -> int:
    """Judge the run in the directory that the one argument names."""
    if len(arguments) != 1:
        print("usage: python -m tests.faults.oracle RUN", file=sys.stderr)
        return 2
    try:
        report = examine(Path(arguments[0]))
    except Undecidable as error:
        print(error, file=sys.stderr)
        return 2
    print(report.as_json())
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
