"""Running a report: rows of figures, as of the position up to which the projections have taken in the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.reader import Reader
from eventstore.record import rfc3339
from eventstore.revision import replaced
from projections.reports import LATEST, PERIODS, Column, Definition, definition_of, query

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report found. A row is the group, then a value for each of `columns`; None where there is none to tell.

    `total` is a row of everything together. Instants are microseconds since the epoch, UTC; `position` is how far the
    projections had come.
    """

    definition: Definition
    by: str
    since: int | None
    until: int | None
    position: int
    rows: tuple[Row, ...]
    total: Row

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the figures of a row are, without the group."""
        return self.definition.columns

    def group_text(self, group: object) -> str | None:
        """A group in words: the day or hour where those are the groups (UTC)."""
        if group is None:
            return None
        if isinstance(group, int) and self.by in PERIODS:
            return rfc3339(group)[:10] if self.by == "day" else rfc3339(group)[:13] + ":00Z"
        return str(group)

    def as_json(self) -> dict[str, Any]:
        """The document that `outlive report --json` prints."""
        return {
            "schema": "outlive.report/1",
            "report": self.definition.name,
            "title": self.definition.title,
            "by": self.by,
            "since": None if self.since is None else rfc3339(self.since),
            "until": None if self.until is None else rfc3339(self.until),
            "position": self.position,
            "columns": [{"name": column.name, "kind": column.kind} for column in self.columns],
            "rows": [{"group": self.group_text(row[0]), **self._figures(row)} for row in self.rows],
            "total": self._figures(self.total),
        }

    def _figures(self, row: Row) -> dict[str, Any]:
        return {
            column.name: rfc3339(value) if column.kind == "instant" and value is not None else value
            for column, value in zip(self.columns, row[1:], strict=True)
        }


def report(
    reader: Reader,
    name: str,
    *,
    by: str | None = None,
    since: int | None = None,
    until: int | None = None,
    now: int,
) -> Report:
    """The report `name` grouped by `by`, of what happened from `since` until `until`; `now` ends what still runs.

    Raises `InvalidRequest` for a report or a grouping that there is not, and a period that ends before it begins;
    `StoreDamaged` where somebody has replaced the views that it is made from.
    """
    found = nothing(name, by=by, since=since, until=until)
    if views := reader.replaced_views():
        raise StoreDamaged(f"cannot report {name}: {replaced(views)}")
    period = {"since": since or 0, "until": LATEST if until is None else until, "now": now}
    with reader.snapshot():
        # None of those that follow has taken in anything yet: as of nothing.
        ((position,),) = reader.rows(
            "SELECT coalesce(min(position), 0) FROM projections WHERE name <> 'agents'"
        )
        rows = reader.rows(*query(found.definition, found.by, **period))
        total = reader.rows(*query(found.definition, None, **period))
    return replace(found, position=position, rows=tuple(rows), total=total[0] if total else found.total)


def nothing(
    name: str, *, by: str | None = None, since: int | None = None, until: int | None = None
) -> Report:
    """The report of a home where nothing was recorded yet. Raises `InvalidRequest` as `report` does."""
    definition, by = definition_of(name, by)
    check_period(since, until)
    total = (None,) * (len(definition.columns) + 1)
    return Report(definition=definition, by=by, since=since, until=until, position=0, rows=(), total=total)


def check_period(since: int | None, until: int | None) -> None:
    """Raise `InvalidRequest` for a period that ends before it begins."""
    if since is not None and until is not None and until < since:
        raise InvalidRequest(
            f"cannot look at a time from {rfc3339(since)} until {rfc3339(until)}: it ends before it begins;"
            " exchange the two"
        )
