"""What a log is held against, besides its head: checkpoints, and exports and bundles of it that somebody kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from time import time_ns
from typing import NamedTuple

from eventstore.checkpoints import Checkpoint, CheckpointFile, Key, parse
from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.reader import Reader
from eventstore.record import Head
from manager import homeidentity, offline, signing
from manager.checkpointing import path_of
from manager.home import Home
from projections.quantities import counted

_FIRST_LINES = 1_000  # of a file, in which there is a checkpoint if there are any


class Known(NamedTuple):
    """The checkpoints of one home in a file, but for those with a false signature, which are no evidence.

    `signed`: those with a right signature, of the key that was asked for if one was. `faults`: what is wrong with the
    signatures, a line each. `unchecked`: why none could be checked; null where they were.
    """

    path: Path
    all: tuple[Checkpoint, ...]
    signed: tuple[Checkpoint, ...]
    faults: tuple[str, ...]
    unchecked: str | None = None

    @property
    def heads(self) -> list[Head]:
        """What the log was, in order of position."""
        return sorted(checkpoint.head for checkpoint in self.all)

    def holds(self, position: int) -> bool:
        """Whether there is one at `position`."""
        return any(checkpoint.head.position == position for checkpoint in self.all)

    @property
    def signed_to(self) -> int | None:
        """Up to which position a key answers for the log."""
        return max((checkpoint.head.position for checkpoint in self.signed), default=None)

    def of(self, positions: range) -> Known:
        """Those of some positions alone."""
        all_, signed = (
            tuple(one for one in part if one.head.position in positions) for part in (self.all, self.signed)
        )
        return self._replace(all=all_, signed=signed)

    def is_signed_at(self, position: int) -> bool:
        """Whether a key answers for the log at `position`."""
        return self.signed_to is not None and position <= self.signed_to

    @property
    def signers(self) -> list[str]:
        """The ids of the keys of `signed`."""
        return sorted({str(checkpoint.key) for checkpoint in self.signed})

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
    return _of(homeidentity.read(home.identity).id if home.identity.exists() else "", path, key)


def _of(name: str, path: Path, key: Key | None) -> Known:
    found = tuple(CheckpointFile(path, home=name, key=key, clock=lambda: 0).read())
    try:
        keys = {one.key: signing.of_id(one.key or "") for one in found}
    except InvalidRequest as error:  # the package is not there
        return Known(path, found, (), (), unchecked=str(error))
    true, false = list[Checkpoint](), list[Checkpoint]()
    for one in found:
        signer = keys[one.key]
        is_bare = (one.key, one.signature) == (None, None)
        (true if is_bare or (signer and one.is_signed_by(signer)) else false).append(one)
    signed = tuple(one for one in true if one.key and (key is None or one.key == key.id))
    faults = [_false(path, false, named) for named in sorted({str(one.key) for one in false})]
    if key is not None and found and not signed:
        by = " and ".join(sorted({str(one.key) for one in true if one.key}))
        others = f"but some are with {by}" if by else "nor is any with another"
        faults.append(f"no checkpoint in {path} is signed with the key {key.id}, {others}")
    return Known(path, tuple(true), signed, tuple(faults))


def _false(path: Path, false: Sequence[Checkpoint], key: str) -> str:
    some = [one for one in false if str(one.key) == key]
    many, first = counted(len(some), "checkpoint"), some[0].head.position
    return f"{many} in {path} with a false signature of the key {key}, the first of position {first}; put it back"


def heads_in(
    home: Home, reader: Reader, path: Path, key: Key | None
) -> tuple[Iterable[Head], tuple[str, ...]]:
    """What the log was, in order of position, as a file of checkpoints, an export or a bundle tells; and its faults.

    Raises `NotWhole` for an export or bundle that is not, `StoreDamaged` for a file of another home, and
    `InvalidRequest` for what is none of these.
    """
    if not path.is_file():
        raise InvalidRequest(f"cannot compare with {path}: there is no such file")
    known = checkpoints(home, path, key)
    if known.all or known.faults:
        return known.heads, known.faults
    with path.open("rb") as file:
        others = {one.home for one in map(parse, islice(file, _FIRST_LINES)) if one is not None}
    for name in sorted(others):
        if _has_events_of(name, reader):  # another home with the same log
            known = _of(name, path, key)
            return known.heads, known.faults
    found = min(others) if others else offline.read(path, key=key).home  # None: an export of no event
    if others or (found is not None and not _has_events_of(found, reader)):
        raise StoreDamaged(
            f"cannot trust that this is the log: {path} is of the home {found}, and {home.path} is "
            f"{homeidentity.read(home.identity).id}; give a file of this home, or find out how it came to be another"
        )
    return offline.heads(path), ()


def _has_events_of(home: str, reader: Reader) -> bool:
    return bool(reader.rows("SELECT 1 FROM events WHERE home = ? LIMIT 1", (home,)))


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
