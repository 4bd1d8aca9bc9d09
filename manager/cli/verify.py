"""`verify`: everything that can be said for and against a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from manager.cli import exit_codes
from manager.cli.session import Session, complain, current, shared_options, write, write_json

if TYPE_CHECKING:
    from manager.verification import Verification


@click.command("verify")
@click.option(
    "--from", "start", type=click.IntRange(min=1), default=1, metavar="POSITION", help="Begin here."
)
@click.option("--to", "until", type=click.IntRange(min=1), metavar="POSITION", help="End here.")
@shared_options
def verify_command(*, start: int, until: int | None) -> int:
    """Check the whole log: its hash chain, the head kept outside of it, the database, and the rows made from it.

    Exit 6 where anything is not what was written, and the first bad position. A part is checked for its chain alone.
    """
    from manager.home import Home
    from manager.verification import verify_home

    session = current()
    found = verify_home(Home(session.home), session.database, start=start, until=until)
    if found is None:
        return _nothing(session)
    _show(session, found)
    verdict = found.verdict
    if not verdict.is_intact:
        complain(
            f"cannot trust the log from position {verdict.position} on: {verdict.problem}: {verdict.detail}; "
            f"{verdict.checked} events before it are as they were written: restore the rest from a backup"
        )
    for fault in found.faults:
        complain(f"cannot trust the database: {fault}")
    return exit_codes.DONE if found.is_intact else exit_codes.INTEGRITY


def _show(session: Session, found: Verification) -> None:
    verdict, known = found.verdict, found.known
    if session.json:
        outside = None if known is None else {"position": known.position, "hash": known.hash.hex()}
        write_json(
            {
                "schema": "outlive.verify/1",
                "intact": found.is_intact,
                "checked": verdict.checked,
                "position": verdict.position,
                "problem": verdict.problem,
                "detail": verdict.detail,
                "faults": list(found.faults),
                "head": {"position": verdict.head_position, "hash": verdict.head_hash.hex()},
                "known_head": outside,
            }
        )
    elif found.is_intact:
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
