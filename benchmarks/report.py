"""What a benchmark hands over: a section of Markdown with medians, the spread beside them, and how it was measured."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table. `how` says what was measured and from when to when, in a sentence or two."""

    title: str
    how: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    picture: tuple[str, str] | None = None
    """What it shows, and the file beside the results."""
    is_measured: bool = True

    def as_markdown(self) -> str:
        """The section, with the load at its end: a busy machine shows in the spread."""
        lines = [
            f"## {self.title}",
            "",
            self.how,
            "",
            _line(self.headings),
            _line(["---"] * len(self.headings)),
        ]
        lines += [_line(row) for row in self.rows]
        if self.picture is not None:
            lines += ["", "![{}]({})".format(*self.picture)]
        load = [f"load average afterwards: {os.getloadavg()[0]:.1f}"] if self.is_measured else []
        return "\n".join([*lines, "", *(f"* {note}" for note in (*self.notes, *load)), ""])


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """`median (least to most)`."""
    return f"{form(median(values))} ({form(min(values))} to {form(max(values))})"


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of all (at least two) do not exceed."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def milliseconds(seconds: float) -> str:
    """`12.3 ms`."""
    return f"{seconds * 1e3:.1f} ms"


def microseconds(seconds: float) -> str:
    """`12.3 µs`."""
    return f"{seconds * 1e6:.1f} µs"


def in_seconds(seconds: float) -> str:
    """`1.23 s`."""
    return f"{seconds:.2f} s"


def kilobytes(size_bytes: float) -> str:
    """`1,024 KB`."""
    return f"{size_bytes / 1024:,.0f} KB"


def ratio(value: float, to: float) -> str:
    """`2.05 ×`."""
    return f"{value / to:.2f} ×"


def times(value: float | None) -> str:
    """`2.05 ×`; `-` where there is nothing to compare with."""
    return "-" if value is None else f"{value:.2f} ×"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
