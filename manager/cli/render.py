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


LEAST_LAST_COLUMN = 12


class Column(NamedTuple):
    """A column's title and whether it holds numbers, which stand to the right."""

    title: str
    is_number: bool = False


def show_table(
    session: Session, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str = ""
) -> None:
    """Write the rows to stdout; the caption is for people only. Cells are made harmless here."""
    if session.is_terminal:
        screen = console(session)
        screen.print(rich_table(columns, rows, width=screen.width, caption=caption))
    else:
        write(plain_table(columns, rows))


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Tab-separated lines, the first of them the titles."""
    lines = ["\t".join(column.title for column in columns)]
    lines += ["\t".join(sanitize.one_line(cell) for cell in row) for row in rows]
    return "\n".join(lines)


def rich_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int, caption: str = ""
) -> Table:
    """The table as rich draws it; a state is coloured as well as named. The last column takes what room is left."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [[sanitize.one_line(cell) for cell in row] for row in rows]
    table = Table(
        box=None, pad_edge=False, caption=caption or None, caption_justify="left", header_style="bold"
    )
    room = width
    for number, column in enumerate(columns[:-1]):
        room -= max(cell_len(text) for text in (column.title, *(row[number] for row in cells))) + 1
    for column in columns:
        table.add_column(column.title, justify="right" if column.is_number else "left", no_wrap=True)
    for row in cells:
        texts = [Text(text, style=STATE_STYLES.get(text, "")) for text in row]
        texts[-1].truncate(max(room, LEAST_LAST_COLUMN), overflow="ellipsis")
        table.add_row(*texts)
    return table


def console(session: Session) -> Console:
    """A rich console on stdout that minds `--no-color` and NO_COLOR, and interprets no markup in what it prints."""
    from rich.console import Console

    return Console(no_color=True if session.no_color else None, markup=False, highlight=False, emoji=False)
