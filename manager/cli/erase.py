"""`erase`: what an agent wrote, out of the database and of its files; the log says so, and stays whole."""

from __future__ import annotations

import click

from manager.cli import exit_codes
from manager.cli.options import agent_argument
from manager.cli.session import changing_options, complain, current, write, write_json
from projections.quantities import counted


@click.command("erase")
@agent_argument()
@click.option("--output", is_flag=True, help="Its stdout.log and stderr.log, too.")
@click.option("--reason", metavar="TEXT", help="Why: it goes into the log.")
@changing_options
def erase_command(*, agent: str, output: bool, reason: str | None) -> int:
    """Erase the last lines of output that failures of AGENT keep, for ever; the log records who did so and why.

    Events stay as they are and name what is gone by its digest, so `verify` still holds.
    """
    session = current()
    status = session.view().agent(agent, vitals=False)  # before a home is made for it
    with session.door() as door:
        erased = door.erase(status.id, output=output, reason=reason)
    if session.json:
        write_json({"schema": "outlive.erase/1", "id": status.id, "name": status.name, **erased.as_json()})
    else:
        write(
            f"{status.name}\t{counted(erased.texts, 'text')} erased\t{counted(len(erased.files), 'file')} emptied"
        )
    if erased.is_scrubbed:
        return exit_codes.DONE
    complain(
        "cannot be sure that nothing is left in the database's files: somebody reads an older state of it; "
        f"do it again with `outlive erase {status.name}`"
    )
    return exit_codes.TIMED_OUT
