"""Tables: drawn by rich for a terminal, tab-separated with a header line for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from manager.cli import sanitize
from manager.cli.session import Session, write

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STATE_STYLES = {
    "SPAWNING": "cyan",
    "RUNNING": "green",
    "STOPPING": "yellow",
    "EXITED": "yellow",
    "BACKOFF": "yellow",
    "COMPLETED": "dim",
    "CANCELLED": "dim",
    "FAILED": "bold red",
    "KILLED": "red",
    "LOST": "bold magenta",
}


class Column(NamedTuple):
    """A column's title and whether it holds numbers, which stand to the right."""

    title: str
    is_number: bool = False


def show_table(
    session: Session, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str = ""
) -> None:
    """Write the rows to stdout; the caption is for people only. Cells are made harmless here."""
    if session.is_terminal:
        console(session).print(rich_table(columns, rows, caption=caption))
    else:
        write(plain_table(columns, rows))


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Tab-separated lines, the first of them the titles."""
    lines = ["\t".join(column.title for column in columns)]
    lines += ["\t".join(sanitize.one_line(cell) for cell in row) for row in rows]
    return "\n".join(lines)


def rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str = "") -> Table:
    """The table as rich draws it; a state is coloured as well as named."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, caption=caption or None, caption_justify="left", header_style="bold"
    )
    for column in columns:
        is_wide = column.title in ("NOTE", "COMMAND")
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=True,
            overflow="ellipsis" if is_wide else "fold",
        )
    for row in rows:
        table.add_row(*(Text(sanitize.one_line(cell), style=STATE_STYLES.get(cell, "")) for cell in row))
    return table


def console(session: Session) -> Console:
    """A rich console on stdout that minds `--no-color` and NO_COLOR, and interprets no markup in what it prints."""
    from rich.console import Console

    return Console(no_color=True if session.no_color else None, markup=False, highlight=False, emoji=False)
