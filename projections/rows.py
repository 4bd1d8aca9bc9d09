"""Rows on their way into the table of a projection, the same way on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Table

Row = dict[str, Any]


def upsert(table: Table) -> str:
    """A statement that writes a whole row, over the one with its key if there is one; parameters marked `?`."""
    names = [column.name for column in table.columns]
    keys = [column.name for column in table.primary_key.columns]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    )


def values_of(table: Table) -> Callable[[Row], tuple[Any, ...]]:
    """What makes the parameters of `upsert` of a row; to be kept, for it takes longer to make than a row."""
    return itemgetter(*(column.name for column in table.columns))


@lru_cache(maxsize=1024)
def json_list(texts: tuple[str, ...]) -> str:
    """Texts as a column keeps them."""
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=1024)
def json_object(items: tuple[tuple[str, str], ...]) -> str:
    """Pairs as a column keeps them; sort them first."""
    return json.dumps(dict(items), ensure_ascii=False, separators=(",", ":"))
