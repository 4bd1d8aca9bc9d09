"""What fault tests counted, over all processes that ran them: a row for each fault, printed when pytest ends.

A test calls the fixture `tally`; the counts travel with its report, so they arrive from pytest-xdist's workers too.
A test that fails tells no more rows: it has one of its own, with a violation, unless it has counted some itself.
`TALLY=FILE` also appends them to a file, a JSON line a row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PROPERTY = "tally"
BEGUN = "tally begun"  # of a test that was given the function
Tally = Callable[..., None]


def counting(properties: list[tuple[str, object]]) -> Tally:
    """The function that a test is given: `tally(fault, runs=1, violations=0, **more)`; `more` are counts too."""
    properties.append((BEGUN, True))

    def tally(fault: str, *, runs: int = 1, violations: int = 0, **more: int) -> None:
        properties.append((PROPERTY, (fault, {"runs": runs, "violations": violations, **more})))

    return tally


def sums(reports: Iterable[Any]) -> dict[str, dict[str, int]]:
    """The counts by fault, in the order of the faults' numbers."""
    rows: dict[str, dict[str, int]] = {}
    for report in reports:
        for fault, counts in _told(report):
            row = rows.setdefault(fault, {})
            for key, count in counts.items():
                row[key] = row.get(key, 0) + count
    return dict(sorted(rows.items(), key=lambda item: (_number(item[0]), item[0])))


def _told(report: Any) -> Iterator[tuple[str, dict[str, int]]]:
    """The counts of one report: those of the test, and its failure."""
    properties = getattr(report, "user_properties", ())
    if not properties:
        return  # it may be a warning, too
    told = [value for name, value in properties if name == PROPERTY]
    if report.when == "call":
        yield from told
    is_counted = any(counts["violations"] for _, counts in told)
    if report.failed and not is_counted and any(name == BEGUN for name, _ in properties):
        yield f"- failed: {report.nodeid}", {"runs": 1, "violations": 1}


def _number(fault: str) -> int:
    first = fault.split(maxsplit=1)[0]
    return int(first) if first.isdigit() else 10**6


def table(rows: dict[str, dict[str, int]]) -> list[str]:
    """The rows as lines for a terminal."""
    lines = [f"{'runs':>8}  {'violations':>10}  fault"]
    for fault, counts in rows.items():
        more = "".join(
            f"; {count} {key}" for key, count in counts.items() if key not in ("runs", "violations")
        )
        lines.append(f"{counts['runs']:>8}  {counts['violations']:>10}  {fault}{more.replace('_', ' ')}")
    return lines


def keep(rows: dict[str, dict[str, int]]) -> None:
    """Append the rows to the file that TALLY names, if it names one."""
    path = os.environ.get("TALLY")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"fault": fault, **counts}) + "\n" for fault, counts in rows.items())
