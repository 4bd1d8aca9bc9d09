"""`db current` and `db upgrade`: the schema that the database has, and the one this release needs."""

from __future__ import annotations

import contextlib

import click

from manager.cli import exit_codes
from manager.cli.session import Group, changing_options, current, say, shared_options, write, write_json


@click.group("db", cls=Group)
@changing_options
def db_command() -> None:
    """Version of the database, and its upgrade."""


@db_command.command("current")
@shared_options
def current_command() -> int:
    """Print the schema that the database has, and the one this release needs; exit 1 where they differ."""
    from eventstore import schema
    from eventstore.revision import HEAD

    session = current()
    found = schema.current(session.database)
    if session.json:
        write_json({"schema": "outlive.db/1", "current": found, "needed": HEAD})
    else:
        write(f"{found or 'none'}\t(needed: {HEAD})")
    return exit_codes.DONE if found in (None, HEAD) else exit_codes.FAILED


@db_command.command("upgrade")
@changing_options
def upgrade_command() -> int:
    """Bring the database up to this release; a newer one is refused. A second time changes nothing.

    Agents run on. No coordinator may hold the home: it believes in the schema that it has opened.
    """
    from eventstore import schema, trust
    from eventstore.revision import HEAD
    from manager.evidence import known_head
    from manager.home import Home
    from manager.takeover import take

    session = current()
    home = Home(session.home)
    if session.database_url is None:
        home.prepare()
    before = schema.current(session.database)
    known = known_head(home) if before is None else None
    if known is not None and known.position:
        raise trust.gone(known)
    with contextlib.ExitStack() as stack:
        if session.database_url is None and before not in (None, HEAD):
            lock = take(home) if session.takeover else home.acquire()
            stack.callback(lock.release)
            if lock.taken_over_from is not None:
                say(f"outlive: ended process {lock.taken_over_from}, which held the home and did not answer")
            before = schema.current(session.database)  # another one may have done it just before
        after = schema.upgrade(session.database)
    if session.json:
        write_json({"schema": "outlive.db/1", "before": before, "current": after})
    else:
        write(f"{before or 'none'} → {after}" if before != after else f"{after}\t(nothing to do)")
    return exit_codes.DONE
