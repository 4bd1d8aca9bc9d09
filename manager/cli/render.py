"""Tables: drawn by rich for a terminal, tab-separated with a header line for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from manager.cli import sanitize
from manager.cli.session import Session, write

if TYPE_CHECKING:
    from rich.console import Console, Group
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

LEAST_NOTE, LEAST_PROSE = 12, 30
GAP = 2  # between two columns


class Column(NamedTuple):
    """A column's title and what it holds: numbers stand to the right, prose goes on in the next line."""

    title: str
    is_number: bool = False
    is_prose: bool = False


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
) -> Group:
    """The table as rich draws it; a state is coloured as well as named. The last column takes what room is left.

    Where the columns have no room beside each other there are several tables, one below the other: each begins with
    the first column again.
    """
    from rich.cells import cell_len
    from rich.console import Group
    from rich.text import Text

    cells = [[sanitize.one_line(cell) for cell in row] for row in rows]
    widths = [
        max(cell_len(text) for text in (column.title, *(row[number] for row in cells)))
        for number, column in enumerate(columns)
    ]
    if not columns[-1].is_number:
        widths[-1] = min(widths[-1], LEAST_PROSE if columns[-1].is_prose else LEAST_NOTE)
    if sum(widths) + GAP * (len(widths) - 1) > width:
        widths[0] = min(widths[0], width // 2)
        widths[1:] = [min(one, width - widths[0] - GAP) for one in widths[1:]]
    tables = [
        _one_table(
            [columns[n] for n in part],
            [[row[n] for n in part] for row in cells],
            [widths[n] for n in part],
            width,
        )
        for part in fold(widths, width)
    ]
    below = [Text(caption, style="table.caption")] if caption else []
    return Group(*[piece for table in tables for piece in ("", table)][1:], *below)


def fold(widths: Sequence[int], room: int) -> list[list[int]]:
    """Which columns stand beside each other in `room` cells: all, or several times the first one and some others."""
    parts, left = [[0]], room - widths[0]
    for number, width in enumerate(widths[1:], 1):
        if left < width + GAP and len(parts[-1]) > 1:
            parts.append([0])
            left = room - widths[0]
        parts[-1].append(number)
        left -= width + GAP
    return parts


def _one_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], room: int
) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    limits = [*widths[:-1], max(room - sum(width + GAP for width in widths[:-1]), 1)]
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=not column.is_prose,
            overflow="fold" if column.is_prose else "ellipsis",
        )
    for row in rows:
        texts = [Text(text, style=STATE_STYLES.get(text, "")) for text in row]
        for text, column, limit in zip(texts, columns, limits, strict=True):
            if not column.is_prose:
                text.truncate(limit, overflow="ellipsis")
        table.add_row(*texts)
    return table


def console(session: Session) -> Console:
    """A rich console on stdout that minds `--no-color` and NO_COLOR, and interprets no markup in what it prints."""
    from rich.console import Console

    return Console(no_color=True if session.no_color else None, markup=False, highlight=False, emoji=False)
