"""`prune`: old events out of the log, after they were exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from manager.cli import exit_codes
from manager.cli.options import FILE, MOMENT
from manager.cli.session import actor, complain, current, shared_options, write, write_json
from projections.quantities import counted

if TYPE_CHECKING:
    from manager.past import Moment


@click.command("prune")
@click.option(
    "--before", type=MOMENT, required=True, metavar="TIME|POSITION", help="Remove what is older than this."
)
@click.option(
    "--export",
    type=FILE,
    required=True,
    metavar="FILE",
    help="Keep it in this new file.",
)
@shared_options
def prune_command(*, before: Moment, export: Path) -> int:
    """Remove old events: verify the log, export them to FILE, check that, remove them, and say so in the log.

    Whole or not at all. Agents that have not ended, and those that have a later event, are kept with all after their
    first event. What is kept can be verified on; FILE and the log together are the whole. Directories of agents that go
    are removed, with their output and what they were started with.
    """
    from manager.home import Home
    from manager.pruning import prune_home

    session = current()
    found = prune_home(Home(session.home), session.database, actor=actor(), before=before, export=export)
    because = found.because
    if session.json:
        write_json(
            {
                "schema": "outlive.prune/1",
                "position": found.position,
                "events": found.events,
                "export": None if found.export is None else str(found.export),
                "sha256": found.sha256,
                "kept_for": because,
                "directories": found.removed.directories,
            }
        )
    elif found.position:
        write(
            f"removed {counted(found.events, 'event')} up to {found.position}, kept in {found.export} ({found.sha256})"
        )
        if because is not None:
            write(f"kept what is later for {because}, which has not ended or has later events")
    else:
        why = "nothing is older" if because is None else f"{because} began before, and has not ended by then"
        write(f"nothing to remove: {why}")
    if found.removed.directories and not session.json:
        directories = counted(found.removed.directories, "directory", "directories")
        write(f"removed {directories} of agents with what they wrote and were started with")
    for why in found.removed.left:
        complain(f"cannot remove the directory of an agent whose events are gone: {why}; prune again later")
    return exit_codes.FAILED if found.removed.left else exit_codes.DONE
