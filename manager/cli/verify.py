"""`verify`: the log against itself, and against the head that is kept outside of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from eventstore.chain import without_evidence
from manager.cli import exit_codes
from manager.cli.session import Session, complain, current, shared_options, write, write_json

if TYPE_CHECKING:
    from eventstore.chain import Verdict
    from eventstore.record import Head


@click.command("verify")
@click.option(
    "--from", "start", type=click.IntRange(min=1), default=1, metavar="POSITION", help="Begin here."
)
@click.option("--to", "until", type=click.IntRange(min=1), metavar="POSITION", help="End here.")
@shared_options
def verify_command(*, start: int, until: int | None) -> int:
    """Compute the hash chain of the log anew, and compare the log with the head that is kept outside of it.

    Exit 6 and the first bad position where it is not what was written.
    """
    from eventstore import trust
    from eventstore.errors import NoDatabase, StoreDamaged
    from eventstore.reader import Reader
    from manager.evidence import known_head
    from manager.home import Home

    session = current()
    known, doubt = None, None
    try:
        known = known_head(Home(session.home))
    except StoreDamaged as error:
        doubt = str(error)
    try:
        reader = Reader.open(session.database)
    except NoDatabase as error:
        if known is not None and known.position:
            raise trust.gone(known) from error
        return _nothing(session)
    with closing(reader):
        verdict = reader.verify(start=start, until=until, known=known if until is None else None)
    if doubt and verdict.is_intact and until is None:
        verdict = without_evidence(verdict, doubt)
    _show(session, verdict, known)
    if verdict.is_intact:
        return exit_codes.DONE
    complain(
        f"cannot trust the log from position {verdict.position} on: {verdict.problem}: {verdict.detail}; "
        f"{verdict.checked} events before it are as they were written: restore the rest from a backup"
    )
    return exit_codes.INTEGRITY


def _show(session: Session, verdict: Verdict, known: Head | None) -> None:
    if session.json:
        outside = None if known is None else {"position": known.position, "hash": known.hash.hex()}
        write_json(
            {
                "schema": "outlive.verify/1",
                "intact": verdict.is_intact,
                "checked": verdict.checked,
                "position": verdict.position,
                "problem": verdict.problem,
                "detail": verdict.detail,
                "head": {"position": verdict.head_position, "hash": verdict.head_hash.hex()},
                "known_head": outside,
            }
        )
    elif verdict.is_intact:
        write(f"intact: {verdict.checked} events, head {verdict.head_position} {verdict.head_hash.hex()}")


def _nothing(session: Session) -> int:
    head = {"position": 0, "hash": None}
    if session.json:
        write_json(
            {"schema": "outlive.verify/1", "intact": True, "checked": 0, "head": head, "known_head": None}
        )
    else:
        write("nothing has been recorded yet")
    return exit_codes.DONE
