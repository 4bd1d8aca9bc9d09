"""`verify`: everything that can be said for and against a log, or an export or bundle of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventstore.record import rfc3339
from manager.cli import exit_codes
from manager.cli.options import FILE, POSITION
from manager.cli.sanitize import one_line
from manager.cli.session import Session, complain, current, say, shared_options, write, write_json
from projections.quantities import counted

if TYPE_CHECKING:
    from eventstore.checkpoints import Key
    from manager.comparing import Known
    from manager.prunes import Prune
    from manager.verification import Verification


@click.command("verify")
@click.option("--from", "start", type=POSITION, metavar="POSITION", help="Begin here.")
@click.option("--to", "until", type=POSITION, metavar="POSITION", help="End here.")
@click.option("--from-checkpoint", is_flag=True, help="Compute only what follows the newest checkpoint.")
@click.option(
    "--against", type=FILE, metavar="FILE", help="Compare with checkpoints, an export or a bundle, too."
)
@click.option(
    "--bundle", type=FILE, metavar="FILE", help="Check a bundle or an export by itself; no home is needed."
)
@click.option(
    "--key",
    metavar="KEY",
    help="Checkpoints, or that file, must be signed with this key: its id, or a PEM file.",
)
@shared_options
def verify_command(
    *,
    start: int | None,
    until: int | None,
    from_checkpoint: bool,
    against: Path | None,
    bundle: Path | None,
    key: str | None,
) -> int:
    """Check the whole log: its hash chain, head and checkpoints outside of it, the database, and rows made from it.

    Exit 6 where anything is not what was written, and the first bad position. A part is checked for its chain, head and
    checkpoints alone.
    """
    is_part = start is not None or until is not None
    if sum((is_part, from_checkpoint or against is not None, bundle is not None)) > 1:
        raise click.UsageError("a part, a file by itself, and what follows a checkpoint exclude each other")
    session = current()
    signer = _key(key)
    if bundle is not None:
        return _file(session, bundle, signer)
    from manager.home import Home
    from manager.verification import Wanted, verify_home

    wanted = Wanted(start=start, until=until, from_checkpoint=from_checkpoint, against=against, key=signer)
    found = verify_home(Home(session.home), session.database, wanted)
    if found is None:
        return _nothing(session)
    _show(session, found)
    verdict = found.verdict
    if not verdict.is_intact:
        many = f"{counted(verdict.checked, 'event')} before it"
        whole = f"known to be as written: {many}; restore the rest from a backup"
        if verdict.problem == "head unknown":
            whole = f"{many} fit together, and nothing outside says that they are those that were written"
        complain(
            f"cannot trust the log from position {verdict.position} on: {verdict.problem}: {verdict.detail}; {whole}"
        )
    for fault in found.faults:
        complain(f"cannot trust the database: {fault}")
    if found.faults and verdict.is_intact:
        say(f"the events themselves are whole, up to position {verdict.head_position}")
    return exit_codes.DONE if found.is_intact else exit_codes.INTEGRITY


def _key(given: str | None) -> Key | None:
    if given is None:
        return None
    from manager import signing

    return signing.public(given)


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
                "from_checkpoint": None if found.start is None else found.start.as_json(),
                "checkpoints": _checkpoints(found),
                "pruned": [_pruned(one, found) for one in found.pruned],
            }
        )
    elif found.is_intact:
        parts = [f"intact: {counted(verdict.checked, 'event')}"]
        if found.start is not None:
            parts.append(f"after checkpoint {found.start.head.position}")
        parts.append(f"head {verdict.head_position} {verdict.head_hash.hex()}")
        if found.checkpoints is not None and found.checkpoints.all:
            parts.append(f"in agreement with {counted(len(found.checkpoints.all), 'checkpoint')}")
            parts += _signed(found.checkpoints)
        write(", ".join(parts))
    if not session.json:
        for one in found.pruned:
            kind = "a signed checkpoint" if _pruned(one, found)["signed"] else "no signed checkpoint"
            write(one_line(f"pruned: {one.words}; {kind} covers that event"))


def _pruned(one: Prune, found: Verification) -> dict[str, Any]:
    known = found.checkpoints if found.verdict.is_intact else None
    is_signed = known is not None and known.is_signed_at(one.event.position)
    return {
        "position": one.position,
        "events": one.events,
        "by": {
            "position": one.event.position,
            "actor": one.event.actor,
            "at": rfc3339(one.event.recorded_at),
        },
        "export": one.export,
        "export_sha256": one.export_sha256,
        "signed": is_signed,
    }


def _signed(known: Known) -> list[str]:
    if known.unchecked and any(one.key for one in known.all):
        return [f"their signatures were not checked: {known.unchecked}"]
    if known.signed_to is None:
        return []
    whose = f"by {' and '.join(known.signers)}"
    return [f"{len(known.signed)} of them signed {whose}, up to position {known.signed_to}"]


def _checkpoints(found: Verification) -> dict[str, Any] | None:
    known = found.checkpoints
    if known is None:
        return None
    newest = None if known.newest is None else known.newest.as_json()
    return {
        "path": str(known.path),
        "count": len(known.all),
        "signed": len(known.signed),
        "signed_to": known.signed_to,
        "signed_by": known.signers,
        "unchecked": known.unchecked,
        "newest": newest,
    }


def _file(session: Session, path: Path, key: Key | None) -> int:
    from manager import offline

    try:
        found = offline.read(path, key=key)
    except offline.NotWhole as error:
        if session.json:
            write_json(
                {
                    "schema": "outlive.verify/1",
                    "intact": False,
                    "position": error.position,
                    "detail": str(error),
                }
            )
        complain(f"{error}; get it from its home again")
        return exit_codes.INTEGRITY
    head = {"position": found.head.position, "hash": found.head.hash.hex()}
    checkpoint = None if found.checkpoint is None else found.checkpoint.as_json()
    if session.json:
        write_json(
            {
                "schema": "outlive.verify/1",
                "intact": True,
                "kind": found.kind,
                "agent": found.agent,
                "checked": found.events,
                "head": head,
                "checkpoint": checkpoint,
                "signed_by": found.signed_by,
            }
        )
    else:
        whose = "" if found.agent is None else f" of agent {found.agent}"
        many = counted(found.events, "event")
        write(f"intact {found.kind}: {many}{whose}, head {head['position']} {head['hash']}")
        if found.signed_by is None:
            write("not signed: whoever made it could have left out the end")
        else:
            known = "" if key else "; `--key` tells whether that is the one you know"
            write(f"all from {found.start} to {head['position']}, signed by {found.signed_by}{known}")
    return exit_codes.DONE


def _nothing(session: Session) -> int:
    head = {"position": 0, "hash": None}
    if session.json:
        write_json(
            {"schema": "outlive.verify/1", "intact": True, "checked": 0, "head": head, "known_head": None}
        )
    else:
        write("nothing has been recorded yet")
    return exit_codes.DONE
