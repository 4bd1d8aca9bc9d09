"""What a log is held against, besides its head: checkpoints, and exports and bundles of it that somebody kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import time_ns
from typing import NamedTuple

from eventstore.checkpoints import Checkpoint, CheckpointFile, Key
from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.reader import Reader
from eventstore.record import Head
from manager import homeidentity, offline
from manager.checkpointing import path_of
from manager.home import Home
from projections.quantities import counted


class Known(NamedTuple):
    """The checkpoints of one home in a file; `signed`: those with a right signature of the key that was asked for.

    `faults`: what is wrong with the signatures, a line each.
    """

    path: Path
    all: tuple[Checkpoint, ...]
    signed: tuple[Checkpoint, ...]
    faults: tuple[str, ...]

    @property
    def heads(self) -> list[Head]:
        """What the log was, in order of position."""
        return sorted(checkpoint.head for checkpoint in self.all)

    def holds(self, position: int) -> bool:
        """Whether there is one at `position`."""
        return any(checkpoint.head.position == position for checkpoint in self.all)

    @property
    def signed_to(self) -> int | None:
        """Up to which position the key answers for the log."""
        return max((checkpoint.head.position for checkpoint in self.signed), default=None)

    @property
    def newest(self) -> Checkpoint | None:
        """The one that has come furthest."""
        return max(self.all, key=_order, default=None)

    def to_begin_at(self, reader: Reader, key: Key | None) -> Checkpoint | None:
        """The newest that the log agrees with, signed where a key was asked for."""
        for one in sorted(self.signed if key else self.all, key=_order, reverse=True):
            found = reader.rows("SELECT hash FROM events WHERE position = ?", (one.head.position,))
            if found and found[0][0] == one.head.hash:
                return one
        return None


def checkpoints(home: Home, path: Path, key: Key | None) -> Known:
    """The checkpoints of `home` in the file at `path`. Raises `StoreDamaged`, `StoreUnavailable`."""
    name = homeidentity.read(home.identity).id if home.identity.exists() else ""
    found = tuple(CheckpointFile(path, home=name, key=key, clock=lambda: 0).read())
    if key is None:
        return Known(path, found, (), ())
    signed = tuple(one for one in found if one.is_signed_by(key))
    forged = sum(1 for one in found if one.key == key.id) - len(signed)
    faults = [f"{counted(forged, 'checkpoint')} in {path} with a false signature"] if forged else []
    if found and not signed:
        faults.append(f"no checkpoint in {path} is signed with the key {key.id}")
    return Known(path, found, signed, tuple(faults))


def heads_in(home: Home, path: Path, key: Key | None) -> tuple[Iterable[Head], tuple[str, ...]]:
    """What the log was, in order of position, as a file of checkpoints, an export or a bundle tells; and its faults.

    Raises `NotWhole` for an export or bundle that is not, `InvalidRequest` for another file or one of another home.
    """
    if not path.is_file():
        raise InvalidRequest(f"cannot compare with {path}: there is no such file")
    known = checkpoints(home, path, key)
    if known.all:
        return known.heads, known.faults
    offline.read(path, key=key)
    return offline.heads(path), ()


def checkpoint_for(reader: Reader, home: Home, agent: str, *, key: Key | None) -> Checkpoint:
    """The first checkpoint after an agent's last event that the log agrees with, else one of the head as it is now.

    With `key` it is signed with that: an older one, or the new one. Raises `StoreDamaged` where the log is not what was
    written between the agent's first event and that checkpoint.
    """
    head = reader.head()
    [(first, last)] = reader.rows(
        "SELECT min(position), max(position) FROM events WHERE stream = ?", (f"agent/{agent}",)
    )
    known = checkpoints(home, path_of(home), key)
    later = [
        one for one in (known.signed if key else known.all) if last <= one.head.position <= head.position
    ]
    for one in sorted(later, key=_order):
        if reader.head_at(one.head.position).hash == one.head.hash:
            found = one
            break
    else:
        now = Head(head.position, head.hash, time_ns() // 1000)
        found = Checkpoint(now, homeidentity.read(home.identity).id)
        found = found if key is None else found.signed(key)
    verdict = reader.verify(start=first, until=found.head.position)
    if not verdict.is_intact:
        raise StoreDamaged(
            f"cannot bundle {agent}: from position {verdict.position} on the log is not what was written; "
            "see `outlive verify`",
            position=verdict.position,
        )
    return found


def _order(one: Checkpoint) -> tuple[int, int]:
    return one.head.position, one.head.recorded_at
