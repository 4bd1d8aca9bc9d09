"""Flipping each bit of each value in a log's tables, through SQL, with what guards them out of the way."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Value = int | float | bytes | None


class Cell(NamedTuple):
    """One value of a table, in the row with this rowid; texts as their bytes."""

    table: str
    rowid: int
    column: str
    value: Value
    is_text: bool

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of row {self.rowid}"

    @property
    def bits(self) -> int:
        """How many can be flipped; 1 for NULL, which becomes something."""
        if isinstance(self.value, bytes):
            return len(self.value) * 8
        return 1 if self.value is None else 63


class Tables:
    """A database whose rows can be changed and put back. `changed` is a context in which one bit is other."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA ignore_check_constraints = ON")
        self._database.execute("PRAGMA synchronous = OFF")
        triggers = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('events', 'epochs')"
        )
        self._triggers = self._database.execute(triggers).fetchall()
        for name, _ in self._triggers:
            self._database.execute(f"DROP TRIGGER {name}")

    def close(self) -> None:
        """Put the guards back."""
        for _, sql in self._triggers:
            self._database.execute(sql)
        self._database.close()

    def cells(self, table: str) -> list[Cell]:
        """Every value of a table."""
        self._database.text_factory = str
        names = [row[1] for row in self._database.execute(f"PRAGMA table_info({table})")]
        self._database.text_factory = bytes
        found = []
        for name in names:
            query = f"SELECT rowid, CAST({name} AS BLOB), {name}, typeof({name}) FROM {table} ORDER BY rowid"
            for rowid, raw, value, kind in self._database.execute(query):
                is_text = kind == b"text"
                found.append(Cell(table, rowid, name, raw if is_text else value, is_text))
        return found

    def change(self, cell: Cell, bit: int) -> None:
        """Make one bit of it other, for good. Raises sqlite3.IntegrityError."""
        self._set(cell, _flipped(cell, bit))

    @contextlib.contextmanager
    def changed(self, cell: Cell, bit: int) -> Iterator[None]:
        """One bit of it is other. Raises sqlite3.IntegrityError where the table itself does not take the value."""
        self.change(cell, bit)
        try:
            yield
        finally:
            self._set(cell._replace(rowid=self._rowid_of(cell, bit)), cell.value)

    def _set(self, cell: Cell, value: Any) -> None:
        new = "CAST(? AS TEXT)" if isinstance(value, bytes) and cell.is_text else "?"
        statement = f"UPDATE {cell.table} SET {cell.column} = {new} WHERE rowid = ?"
        assert self._database.execute(statement, (value, cell.rowid)).rowcount == 1, str(cell)

    def _rowid_of(self, cell: Cell, bit: int) -> int:
        moved = _flipped(cell, bit) if cell.column == "position" and cell.table == "events" else cell.rowid
        assert isinstance(moved, int)
        return moved


def _flipped(cell: Cell, bit: int) -> Value:
    match cell.value:
        case None:
            return 0 if cell.column in ("attempt", "pid") or cell.column.endswith(("_at", "_pid")) else b"?"
        case int():
            return cell.value ^ (1 << bit)
        case bytes():
            content = bytearray(cell.value)
            content[bit // 8] ^= 1 << bit % 8
            return bytes(content)
    raise AssertionError(f"{cell} is a {type(cell.value)}")
