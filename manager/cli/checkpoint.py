"""`checkpoint`: the head of the log, now, for keeping elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from manager.cli import exit_codes
from manager.cli.session import current, say, shared_options, write_json


@click.command("checkpoint")
@click.option("--key", metavar="FILE", help="Sign it with the key in FILE [OUTLIVE_SIGNING_KEY].")
@shared_options
def checkpoint_command(*, key: str | None) -> int:
    """Write a checkpoint of the log's head to the file of checkpoints, and print its line, to be kept elsewhere.

    The end of the log is verified first; `verify --against FILE` compares the log with lines that were kept.
    """
    from manager import signing
    from manager.checkpointing import write_checkpoint
    from manager.home import Home
    from manager.prunes import require_vouched

    session, home = current(), Home(current().home)
    signer = None if key is None else signing.load(Path(key).expanduser())
    require_vouched(home, session.database)
    checkpoint = write_checkpoint(home, session.database, key=signer)
    if checkpoint is None:
        say("outlive: nothing has been recorded yet, so there is nothing to answer for")
        return exit_codes.DONE
    write_json(checkpoint.as_json())
    return exit_codes.DONE
