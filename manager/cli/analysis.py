"""`report trends`, `report anomalies` and `report risks`: what the history says beyond counting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from manager.cli import render
from manager.cli.session import Session, now, write_json
from projections.quantities import duration_text

if TYPE_CHECKING:
    from manager.analysis import Analysis, Name
    from manager.view import View

NAMES = ("trends", "anomalies", "risks")
FORMATS = ("table", "json", "csv")
_TITLES: dict[str, tuple[tuple[str, str], ...]] = {
    "trends": (("NAME", "name"), ("OF", "metric"), ("DIRECTION", "direction"), ("CHANGE", "change"), ("WHAT", "words")),
    "anomalies": (("NAME", "name"), ("ATTEMPT", "attempt"), ("KIND", "kind"), ("SCORE", "score"), ("WHAT", "words")),
    "risks": (("NAME", "name"), ("ATTEMPT", "attempt"), ("KIND", "kind"), ("SCORE", "score"), ("LEFT", "left_seconds"),
              ("WHAT", "words")),
}  # fmt: skip
_NUMBERS = {"change", "attempt", "score", "left_seconds"}
_NOTHING = {
    "trends": "no name has 8 attempts that ended",
    "anomalies": "nothing out of the ordinary",
    "risks": "nothing speaks for a failure soon",
}


def check_options(name: str, *, by: str | None, form: str, threshold: float | None) -> None:
    """Refuse what a report or an analysis has no use for. Raises `click.UsageError`."""
    if name in NAMES:
        if by is not None:
            raise click.UsageError(f"'--by' is not for {name}, which are by name")
        if form not in FORMATS:
            raise click.UsageError(f"{name} can be shown as {', '.join(FORMATS)}")
    if threshold is not None and name not in NAMES[1:]:
        raise click.UsageError(f"'--threshold' is for {' and '.join(NAMES[1:])}: {name} have no score")


def run(view: View, name: str, *, since: int | None, until: int | None, threshold: float | None) -> Analysis:
    """The analysis of this name. Raises as `analyse` does."""
    from manager.analysis import analyse

    return analyse(view, cast("Name", name), now=now(), since=since, until=until, threshold=threshold)


def show(session: Session, found: Analysis, form: str) -> None:
    """Write what was found, as a table, JSON or CSV."""
    document = found.as_json()
    if form == "json":
        write_json(document)
    elif form == "csv":
        from manager.cli.csv_text import csv_text

        titles = (
            list(document["findings"][0]) if document["findings"] else [key for _, key in _TITLES[found.name]]
        )
        click.echo(csv_text(titles, [list(one.values()) for one in document["findings"]]), nl=False)
    else:
        titles_and_keys = _TITLES[found.name]
        columns = [
            render.Column(title, is_number=key in _NUMBERS, is_prose=key == "words")
            for title, key in titles_and_keys
        ]
        cells = [[_cell(key, one[key]) for _, key in titles_and_keys] for one in document["findings"]]
        caption = f"{found.name} as of {document['at']}" if cells else _NOTHING[found.name]
        render.show_table(session, columns, cells, caption=caption)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key == "left_seconds":
        return duration_text(value)
    if key == "change":
        return f"{value:+.0%}"
    return f"{value:.2f}" if key == "score" else str(value)
