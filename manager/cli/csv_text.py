"""CSV that a spreadsheet and a terminal show as it stands: no cell is a formula, none holds control characters."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from manager.cli import sanitize
from manager.exporting import guarded


def csv_text(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines of RFC 4180, the titles first. A text that begins like a formula has a `'` before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for row in (titles, *rows):
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    return guarded(sanitize.one_line(str(value)))
