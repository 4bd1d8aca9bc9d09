"""`recover` and `rebuild`: the log against the system, and against its projections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from manager.cli import exit_codes
from manager.cli.render import Column, show_table
from manager.cli.session import (
    Session,
    changing_options,
    complain,
    current,
    say,
    shared_options,
    write,
    write_json,
)
from projections.quantities import counted

if TYPE_CHECKING:
    from projections.checking import Difference

PROJECTIONS = ("agents", "timeline", "runs", "coordinators")


@click.command("recover")
@changing_options
def recover_command() -> int:
    """Replay the log, compare it with the processes that are there, re-attach; print what was found.

    Every command that changes something does this first; alone it is for after a crash, and for the curious. Stops that
    were half done are seen to their end, which takes as long as their waits; exit 124 when one is not over then.
    """
    session = current()
    with session.door() as door:
        report = door.recover()
        stopped = door.finish_stops()
    found = report.as_json()
    code = exit_codes.DONE
    for status in stopped:
        if status.state == "STOPPING":
            complain(
                f"cannot confirm that {status.name} has ended: it is STOPPING; see `outlive status {status.name}`"
            )
            code = exit_codes.TIMED_OUT
        else:
            say(f"{status.name}: its stop was half done and went on: {status.state}")
    if session.json:
        write_json(found)
        return code
    rows = [
        (name.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value))
        for name, value in found.items()
    ]
    show_table(session, (Column("FOUND"), Column("COUNT", is_number=True)), rows)
    return code


@click.command("rebuild")
@click.argument("projection", required=False, type=click.Choice(PROJECTIONS), metavar="[PROJECTION]")
@click.option(
    "--check", is_flag=True, help="Change nothing: compare the live rows with the log; exit 6 on differences."
)
@shared_options
def rebuild_command(*, projection: str | None, check: bool) -> int:
    """Make PROJECTION (default: all) anew from the log, beside the live rows, and put it in their place.

    Needs no coordinator and disturbs none: only the swap holds the database's write lock.
    """
    from eventstore.errors import NoDatabase
    from eventstore.store import EventStore
    from manager.evidence import known_head
    from manager.home import Home
    from manager.prunes import require_vouched
    from projections import checking, rebuild

    session = current()
    home = Home(session.home)
    head = None if known_head(home) is None else home.head
    require_vouched(home, session.database)
    try:
        store = EventStore.open(session.database, home="", host="", create=False, head=head)
    except NoDatabase as error:
        if error.is_misnamed:
            raise
        return _nothing(
            session, {"schema": "outlive.rebuild/1", "same": True, "differences": [], "position": 0}
        )
    with store:
        if check:
            return _compared(session, checking.check(store))
        position = rebuild.rebuild(store, [projection] if projection else ())
    if session.json:
        write_json({"schema": "outlive.rebuild/1", "projection": projection, "position": position})
    else:
        write(f"rebuilt from the events up to position {position}")
    return exit_codes.DONE


def _compared(session: Session, differences: list[Difference]) -> int:
    if session.json:
        found = [difference._asdict() for difference in differences]
        write_json({"schema": "outlive.rebuild/1", "same": not found, "differences": found})
    elif differences:
        columns = (Column("OF"), Column("ATTEMPT"), Column("COLUMN"), Column("LIVE"), Column("LOG"))
        rows = [
            (d.key, "-" if d.attempt is None else str(d.attempt), d.column, str(d.live), str(d.folded))
            for d in differences
        ]
        show_table(session, columns, rows)
    else:
        write("the same: every row is what the log says")
    if not differences:
        return exit_codes.DONE
    complain(
        f"cannot trust the projections: {counted(len(differences), 'value')} not as in the log; run `outlive rebuild`"
    )
    return exit_codes.INTEGRITY


def _nothing(session: Session, what: dict[str, Any]) -> int:
    if session.json:
        write_json(what)
    else:
        write("nothing has been recorded yet")
    return exit_codes.DONE
