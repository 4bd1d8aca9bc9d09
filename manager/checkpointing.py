"""Where a home's checkpoints are, and who signs them."""

from __future__ import annotations

import os
import warnings
from contextlib import closing
from pathlib import Path
from time import time_ns

from eventstore import trust
from eventstore.checkpoints import Checkpoint, CheckpointFile, Key
from eventstore.errors import NoDatabase, StoreUnavailable
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from manager import homeidentity, signing
from manager.evidence import known_head, require_log
from manager.home import Home

VARIABLE = "OUTLIVE_CHECKPOINTS"


def path_of(home: Home) -> Path:
    """The file that OUTLIVE_CHECKPOINTS names, best on another disk; else one in the home."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else home.path / "checkpoints.jsonl"


def checkpoints_of(home: Home, home_id: str, *, key: Key | None = None) -> CheckpointFile:
    """The checkpoints of a home, signed with `key`, or the one that OUTLIVE_SIGNING_KEY names, if any.

    Raises `KeyUnusable`.
    """
    signer = key or signing.of_environment()
    return CheckpointFile(path_of(home), home=home_id, key=signer, clock=_now)


def write_checkpoint(home: Home, url: str, *, key: Key | None) -> Checkpoint | None:
    """A checkpoint of the head as it is now, written to the home's file; None where nothing was recorded yet.

    Where earlier ones are gone from the file it is begun anew with this one, and says so in a warning.

    The end of the log must be a whole chain and what it was known to be. Raises `StoreDamaged`, `StoreUnavailable`.
    """
    known = known_head(home)
    try:
        reader = Reader.open(url)
    except NoDatabase as error:
        require_log(home, url)
        if known is not None and known.position:
            raise trust.gone(known, home.database) from error
        if error.is_misnamed:
            raise
        return None
    with closing(reader):
        file = checkpoints_of(home, homeidentity.read(home.identity).id, key=key)
        trust.require_whole(reader, known, checkpoints=trust.newest(file))
        head = reader.head()
        kept = HeadFile(home.head)
        lost = trust.lost(file, kept.checkpointed())
        if lost is not None:
            warnings.warn(
                f"cannot answer for what was before {head.position}: {lost.partition(';')[0]}", stacklevel=2
            )
        try:
            written = file.write(head) if head.position else None
            if written is not None:
                kept.remember_checkpoint(head.position)
            return written
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write a checkpoint to {file.path}: {error.strerror}; make room, or set {VARIABLE}"
            ) from error


def _now() -> int:
    return time_ns() // 1000
