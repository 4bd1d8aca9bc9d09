"""`sql`: one SELECT over the views and tables, read-only, with a limit of rows and of time."""

from __future__ import annotations

import math
from typing import Any

import click

from manager.cli import exit_codes, sanitize
from manager.cli.options import DURATION, chosen_format
from manager.cli.render import Column, show_table
from manager.cli.report import tell_what_is_missing
from manager.cli.session import current, say, shared_options, write_json
from projections.quantities import counted

FORMATS = ("table", "json", "csv")


@click.command("sql")
@click.argument("statement", metavar="SELECT")
@click.option("--limit", type=click.IntRange(1, 10**9), default=1000, help="At most so many rows [1000].")
@click.option("--timeout", type=DURATION, default=10.0, help="At most so long [10s]; exit 124 after it.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[table]; --json is --format json.")
@shared_options
def sql_command(*, statement: str, limit: int, timeout: float, form: str | None) -> int:
    """Run one SELECT; the views report_… are made for it, see docs/reports.md.

    The connection can change nothing and reads no other file; on PostgreSQL, as far as its role may not.
    """
    from eventstore.query import QueryTimedOut, ask
    from eventstore.revision import replaced
    from manager.errors import TimedOut
    from manager.freshness import bring_up_to_date

    session = current()
    chosen = chosen_format(session, form, "table")
    view = session.view()
    tell_what_is_missing(bring_up_to_date(view.reader, session.database))
    if views := view.reader.replaced_views():
        say(f"outlive: do not trust this: {replaced(views)}")
    try:
        answer = ask(session.database, statement, limit=limit, seconds=timeout)
    except QueryTimedOut as error:
        raise TimedOut(f"{error}; ask for less, or allow more with --timeout") from error
    rows = [[_plain(value) for value in row] for row in answer.rows]
    if chosen == "json":
        write_json(
            {"schema": "outlive.sql/1", "columns": answer.columns, "rows": rows, "is_cut": answer.is_cut}
        )
    elif chosen == "csv":
        from manager.cli.csv_text import csv_text

        click.echo(csv_text(answer.columns, rows), nl=False)
    else:
        columns = [Column(sanitize.one_line(name)) for name in answer.columns]
        show_table(session, columns, [["-" if v is None else str(v) for v in row] for row in rows])
    if answer.is_cut:
        say(f"outlive: shown: {counted(limit, 'row')}; there are more, see --limit")
    return exit_codes.DONE


def _plain(value: Any) -> Any:
    """A value as JSON has it: bytes in hex; null for a number that JSON lacks."""
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value
