"""What the demo shows: colours on a terminal, plain lines elsewhere. Only ASCII, for terminals of any age."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from manager.cli.render import STATE_STYLES

NUMBERS = {"ATTEMPT", "PID", "UP", "MEMORY", "PROCS"}  # columns that stand to the right


class Screen:
    """Writes to stdout, whole lines, each at once."""

    def __init__(self) -> None:
        # Long lines are the terminal's to wrap: a narrow one must not cut a pid in two.
        self._console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._acts = 0

    def act(self, title: str) -> None:
        """The heading of the next act."""
        self._acts += 1
        self._console.print(Text(f"\n{self._acts}. {title}", style="bold cyan"))

    def say(self, text: str) -> None:
        """One thing that happened."""
        self._console.print(f"   {text}")

    def gap(self) -> None:
        """An empty line."""
        self._console.print()

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns; a state has its colour."""
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        for row in (titles, *rows):
            line = Text("   ")
            for title, cell, width in zip(titles, row, widths, strict=True):
                padded = cell.rjust(width) if title in NUMBERS else cell.ljust(width)
                line.append(f"{padded}  ", style="bold" if row is titles else STATE_STYLES.get(cell, ""))
            line.rstrip()
            self._console.print(line)

    def verdict(self, text: str, *, is_kept: bool) -> None:
        """One promise, and whether it was kept."""
        mark, style = ("ok", "green") if is_kept else ("FALSE", "bold red")
        self._console.print(Text.assemble("   ", (f"{mark:<6}", style), text))

    def last_line(self, text: str, *, is_kept: bool) -> None:
        """The sum of it all, for people and for scripts: nothing but the line."""
        self._console.print(Text(text, style="bold green" if is_kept else "bold red"))
