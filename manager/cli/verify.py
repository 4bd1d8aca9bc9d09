"""`verify`: the log against itself, against the head kept outside of it, and what is made from it against it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from eventstore.chain import without_evidence
from manager.cli import exit_codes
from manager.cli.session import Session, complain, current, shared_options, write, write_json

if TYPE_CHECKING:
    from eventstore.chain import Verdict
    from eventstore.reader import Reader
    from eventstore.record import Head

SHOWN_FAULTS = 5


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
    from eventstore import trust
    from eventstore.errors import NoDatabase, StoreDamaged
    from eventstore.reader import Reader
    from manager.evidence import known_head, require_log
    from manager.home import Home

    session = current()
    home = Home(session.home)
    known, doubt = None, None
    try:
        known = known_head(home)
    except StoreDamaged as error:
        doubt = str(error)
    try:
        reader = Reader.open(session.database)
    except NoDatabase as error:
        require_log(home, session.database)
        if known is not None and known.position:
            raise trust.gone(known) from error
        if doubt:
            complain(doubt)
            return exit_codes.INTEGRITY
        return _nothing(session)
    is_whole = start == 1 and until is None
    with closing(reader):
        verdict = reader.verify(start=start, until=until, known=known if until is None else None)
        if doubt and verdict.is_intact and is_whole:
            verdict = without_evidence(verdict, doubt)
        faults = reader.faults() if is_whole else []
        if is_whole and verdict.is_intact and not faults:
            faults = _wrong_rows(reader)
    _show(session, verdict, known, faults)
    if not verdict.is_intact:
        complain(
            f"cannot trust the log from position {verdict.position} on: {verdict.problem}: {verdict.detail}; "
            f"{verdict.checked} events before it are as they were written: restore the rest from a backup"
        )
    for fault in faults:
        complain(f"cannot trust the database: {fault}")
    return exit_codes.DONE if verdict.is_intact and not faults else exit_codes.INTEGRITY


def _wrong_rows(reader: Reader) -> list[str]:
    from itertools import islice

    from projections.checking import differences

    wrong = [str(difference) for difference in islice(differences(reader), SHOWN_FAULTS)]
    return [f"{text}; run `outlive rebuild`" for text in wrong]


def _show(session: Session, verdict: Verdict, known: Head | None, faults: list[str]) -> None:
    if session.json:
        outside = None if known is None else {"position": known.position, "hash": known.hash.hex()}
        write_json(
            {
                "schema": "outlive.verify/1",
                "intact": verdict.is_intact and not faults,
                "checked": verdict.checked,
                "position": verdict.position,
                "problem": verdict.problem,
                "detail": verdict.detail,
                "faults": faults,
                "head": {"position": verdict.head_position, "hash": verdict.head_hash.hex()},
                "known_head": outside,
            }
        )
    elif verdict.is_intact and not faults:
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
