"""`erase`: what an agent wrote, out of the database and of its files; the log says so, and stays whole."""

from __future__ import annotations

import click

from manager.cli import exit_codes
from manager.cli.options import agent_argument
from manager.cli.session import changing_options, complain, current, write, write_json
from projections.quantities import counted

_OWNER = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('payloads')"


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
    view = session.view()
    status = view.agent(agent, vitals=False)  # before a home is made for it
    with session.door() as door:
        erased = door.erase(status.id, output=output, reason=reason)
    owner = None
    if not erased.is_scrubbed and session.database.startswith("postgresql:"):
        owner = str(view.reader.rows(_OWNER)[0][0])
    if session.json:
        told = {"id": status.id, "name": status.name, **erased.as_json(), "scrub_as": owner}
        write_json({"schema": "outlive.erase/1", **told})
    else:
        write(
            f"{status.name}\t{counted(erased.texts, 'text')} erased\t{counted(len(erased.files), 'file')} emptied"
        )
    if erased.is_scrubbed:
        return exit_codes.DONE
    if owner is not None:
        complain(
            "cannot remove what was erased from the database's files: its role may not write the tables anew; as"
            f" their owner, {owner}: VACUUM (FULL) payloads, runs"
        )
        return exit_codes.TIMED_OUT
    complain(
        "cannot be sure that nothing is left in the database's files: somebody reads an older state of it; "
        f"do it again with `outlive erase {status.name}`"
    )
    return exit_codes.TIMED_OUT
