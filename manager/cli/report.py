"""`report`: figures over attempts, failures, restarts and coordinators, as a table, JSON, CSV or a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from manager.cli import analysis, exit_codes, render
from manager.cli.options import INSTANT, chosen_format
from manager.cli.session import Session, current, now, say, shared_options, write_json
from manager.cli.times import time_text
from projections.quantities import duration_text, size_text

if TYPE_CHECKING:
    from projections.reporting import Report
    from projections.reports import Column

NAMES = ("failures", "durations", "restarts", "uptime", "resources", "recoveries")
FORMATS = ("table", "json", "csv", "svg")
MOST_BARS = 40


@click.command("report")
@click.argument("name", type=click.Choice((*NAMES, *analysis.NAMES)), metavar="REPORT")
@click.option(
    "--by",
    metavar="GROUP",
    help="name, label:KEY, cause, day, hour, host, fingerprint … [name; recoveries: day]; days and hours are UTC.",
)
@click.option("--since", type=INSTANT, help="From this time on: RFC 3339, or 10m, 2h, 3d for that long ago.")
@click.option("--until", type=INSTANT, help="Up to this time.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[table]; --json is --format json.")
@click.option("--threshold", type=float, help="Of anomalies [3.5] and risks [0.5]: the least score to show.")
@shared_options
def report_command(
    *,
    name: str,
    by: str | None,
    since: int | None,
    until: int | None,
    form: str | None,
    threshold: float | None,
) -> int:
    """REPORT is failures, durations, restarts, uptime, resources or recoveries: figures, see docs/reports.md.

    Or trends, anomalies or risks: what the history says beyond them, see docs/analytics.md.

    The projections that it reads are brought up to the log first, where the database can be written.
    """
    from manager.freshness import bring_up_to_date
    from projections.reporting import nothing, report

    session = current()
    chosen = chosen_format(session, form, "table")
    analysis.check_options(name, by=by, form=chosen, threshold=threshold)
    view = session.view()
    if name in analysis.NAMES:
        note = None if view.is_empty else bring_up_to_date(view.reader, session.database)
        tell_what_is_missing(note)
        analysed = analysis.run(view, name, since=since, until=until, threshold=threshold)
        analysis.show(session, analysed, chosen)
        return exit_codes.DONE
    if view.is_empty:
        found = nothing(name, by=by, since=since, until=until)
    else:
        tell_what_is_missing(bring_up_to_date(view.reader, session.database))
        found = report(view.reader, name, by=by, since=since, until=until, now=now())
    _show(session, found, chosen)
    if found.by.startswith("label:") and [row[0] for row in found.rows] == [None]:
        say(f"outlive: nothing of it has the label {found.by.removeprefix('label:')!r}")
    return exit_codes.DONE


def tell_what_is_missing(note: str | None) -> None:
    """Say on stderr that the answer is older than the log, and why."""
    if note:
        say(f"outlive: this is not complete: {note}")


def _show(session: Session, found: Report, form: str) -> None:
    titles = [found.by, *(column.name for column in found.columns)]
    if form == "json":
        write_json(found.as_json())
    elif form == "csv":
        from manager.cli.csv_text import csv_text

        document = found.as_json()
        rows = [[row["group"], *(row[title] for title in titles[1:])] for row in document["rows"]]
        click.echo(csv_text(titles, rows), nl=False)
    elif form == "svg":
        click.echo(_chart(session, found), nl=False)
    else:
        columns = [
            render.Column(title.upper(), is_number=number > 0 and found.columns[number - 1].kind != "text")
            for number, title in enumerate(titles)
        ]
        lines = [*found.rows, ("all", *found.total[1:])] if len(found.rows) > 1 else list(found.rows)
        cells = [
            [
                _group(found, row[0]),
                *(_cell(session, c, value) for c, value in zip(found.columns, row[1:], strict=True)),
            ]
            for row in lines
        ]
        render.show_table(session, columns, cells, caption=found.definition.title)


def _group(found: Report, group: object) -> str:
    return found.group_text(group) or "-"


def _cell(session: Session, column: Column, value: Any) -> str:
    if value is None:
        return "-"
    match column.kind:
        case "seconds":
            return duration_text(value)
        case "bytes":
            return size_text(round(value))
        case "ratio":
            return f"{value:.1%}"
        case "percent":
            return f"{value:.1f}%"
        case "instant":
            return time_text(value, utc=session.utc)
        case _:
            return str(value)


def _chart(session: Session, found: Report) -> str:
    from manager.cli.charts import Bar, bar_chart

    place = next(n for n, column in enumerate(found.columns) if column.name == found.definition.chart)
    column = found.columns[place]
    # An id says nothing to people; the last columns of failures that are alike are their exit and their line.
    are_alike = found.by == "fingerprint" and found.columns[-1].kind == "text"
    bars = [
        Bar(
            ": ".join(filter(None, row[-2:])) or "-" if are_alike else _group(found, row[0]),
            row[place + 1],
        )
        for row in found.rows[:MOST_BARS]
    ]
    left = len(found.rows) - len(bars)
    period = " ".join(
        f"{word} {time_text(instant, utc=session.utc)}"
        for word, instant in (("since", found.since), ("until", found.until))
        if instant is not None
    )
    note = (period or "everything recorded") + (f", {left} more not drawn" if left else "")

    def text(value: float) -> str:
        if column.kind == "seconds" and value < 10:
            return f"{value:.3g}s"  # beside each other 0.1s and 0.15s are not the same
        return _cell(session, column, round(value, 6) if value % 1 else int(value))

    return bar_chart(
        f"{found.definition.title} by {found.by}",
        bars,
        axis=column.name.replace("_", " "),
        note=note,
        text=text,
    )
