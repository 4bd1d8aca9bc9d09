"""`db`: the schema that the database has, its roles, and moving the log to another one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from manager.cli import exit_codes
from manager.cli.session import (
    Group,
    actor,
    changing_options,
    current,
    say,
    shared_options,
    write,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from manager.home import Home


@click.group("db", cls=Group)
@changing_options
def db_command() -> None:
    """Version of the database, its upgrade, its roles, and moving to another one."""


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

    Triggers that keep the log from being changed, and views for reports, are put back where they are not as they should
    be. Agents run on. For a new schema no coordinator may hold the home: it believes in the one that it has opened.
    """
    from eventstore import schema, trust
    from eventstore.revision import HEAD
    from manager.evidence import known_head
    from manager.home import Home

    session = current()
    home = Home(session.home)
    if session.database_url is None:
        home.prepare()
    before = schema.current(session.database)
    is_bare = before == HEAD and not schema.is_guarded(session.database)
    views = schema.replaced_views(session.database) if before == HEAD else []
    known = known_head(home) if before is None else None
    if known is not None and known.position:
        raise trust.gone(known, home.database)
    if session.database_url is None and before not in (None, HEAD):
        with _held(home) as record_takeover:
            before = schema.current(session.database)  # another one may have done it just before
            after = schema.upgrade(session.database)
            _renew_rows(session.database)
            record_takeover()
    else:
        after = schema.upgrade(session.database)
    if session.json:
        write_json(
            {
                "schema": "outlive.db/1",
                "before": before,
                "current": after,
                "triggers_put_back": is_bare,
                "views_put_back": views,
            }
        )
    elif before != after:
        write(f"{before or 'none'} → {after}")
    else:
        done = ["put back the triggers that guard the log"] * is_bare
        done += [f"put back the views {', '.join(views)}"] * bool(views)
        write(f"{after}\t{' and '.join(done) or '(nothing to do)'}")
    return exit_codes.DONE


def _renew_rows(url: str) -> None:
    """Make the rows of agents anew where another release made them; opening the log for appending does."""
    from eventstore.store import EventStore
    from projections.agents import AgentsProjection

    EventStore.open(url, home="", host="", inline=[AgentsProjection()], create=False).close()


@db_command.command("grants")
@click.option(
    "--app", "application", default="outlive_app", show_default=True, metavar="ROLE", help="Who appends."
)
@click.option("--reader", default="outlive_reader", show_default=True, metavar="ROLE", help="Who only reads.")
@click.option(
    "--schema", "where", default="public", show_default=True, metavar="NAME", help="Where the tables are."
)
@shared_options
def grants_command(*, application: str, reader: str, where: str) -> int:
    """Print the SQL that gives the roles of a PostgreSQL database what they need; for its owner. Runs nothing."""
    from eventstore.grants import grants

    statements = list(grants(where, application=application, reader=reader))
    if current().json:
        write_json({"schema": "outlive.grants/1", "statements": statements})
    else:
        write("\n".join(statements))
    return exit_codes.DONE


@db_command.command("move-to")
@click.argument("target", metavar="URL")
@changing_options
def move_command(*, target: str) -> int:
    """Carry the home's log over to the empty database at URL, verified before and after. Agents run on.

    The file in the home becomes events.db.moved; from then on name the database: OUTLIVE_DATABASE_URL.
    """
    from manager.home import Home
    from manager.moving import move

    session = current()
    home = Home(session.home)
    home.check()
    with _held(home) as record_takeover:
        record_takeover()
        head = move(home, target)
    if session.json:
        write_json({"schema": "outlive.move/1", "position": head.position, "hash": head.hash.hex()})
    else:
        write(
            f"{head.position} events, head {head.hash.hex()}: the same in both; now set OUTLIVE_DATABASE_URL"
        )
    return exit_codes.DONE


@contextlib.contextmanager
def _held(home: Home) -> Iterator[Callable[[], None]]:
    """The home's lock, held; what is given, called once the log can be written, records whom it was taken over from."""
    from manager.takeover import take

    session = current()
    lock = take(home) if session.takeover else home.acquire()
    ended = lock.taken_over_from
    if ended is not None:
        say(f"outlive: ended process {ended}, which held the home and did not answer")

    def record() -> None:
        from manager.homelog import record_takeover

        if ended is not None:
            record_takeover(home, session.database, actor(), ended)

    try:
        yield record
    finally:
        lock.release()
