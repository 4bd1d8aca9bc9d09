"""What a log tells of events that were pruned from it, and whether anything but the log vouches for that.

Whoever can write to the database can remove events and append one that says they were pruned. Of an event up to the
head that is kept outside, a coordinator knew. A prune that was killed before it moved that head has left its export:
a later event counts only where that is there, whole, and holds what went.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

from eventstore import schema
from eventstore.errors import InvalidRequest, NoDatabase, OutliveError, StoreDamaged
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import Head, RecordedEvent
from manager import homeidentity, prunedfiles
from manager.evidence import known_head
from manager.home import Home
from projections.quantities import counted


class Prune(NamedTuple):
    """One event LOG_PRUNED: what it says, and where and by whom it was appended. `is_ours`: by the home asked about."""

    position: int
    hash: str
    events: int
    export: str
    export_sha256: str
    event: RecordedEvent
    is_ours: bool

    @property
    def words(self) -> str:
        """What was removed, by which event, and where it is."""
        return (
            f"{counted(self.events, 'event')} up to {self.position}, removed by {self.event.actor} with the event at "
            f"position {self.event.position}, exported to {self.export} (SHA-256 {self.export_sha256})"
        )


def told(home: Home, url: str, reader: Reader) -> list[Prune]:
    """What the log tells, in order. In the home's own database all of it is the home's, whoever it names."""
    is_own_database = url == f"sqlite:///{home.database}"
    ours = homeidentity.read(home.identity).id if home.identity.exists() else ""
    return [
        _prune(event, is_ours=is_own_database or event.home == ours)
        for event in reader.events(types=("LOG_PRUNED",))
    ]


def unvouched(home: Home, prunes: Sequence[Prune]) -> Iterator[tuple[Prune, str]]:
    """Those of the home that nothing outside of the log vouches for, and what to say."""
    exports = prunedfiles.exports(home)  # before the head, which a prune moves before it lets go of its list
    known = None
    with contextlib.suppress(StoreDamaged):  # whoever asks hears of that anyway
        known = known_head(home)
    if known is None:
        return
    for one in prunes:
        if one.is_ours and one.event.position > known.position:
            why = not_exported(home, one, prunes, known, exports)
            if why is not None:
                yield one, f"it lacks {one.words}, and nothing outside the log knows of that: {why}"


def not_exported(
    home: Home, prune: Prune, prunes: Sequence[Prune], known: Head | None, exports: Sequence[Path] = ()
) -> str | None:
    """None where one of `exports`, or a file in the home, holds all that went; else why not, and what to do.

    `known`: what the log had been, which must be in it if it went.
    """
    why = "its export is not there"
    for path in [*exports, home.path / Path(prune.export).name]:
        if path.name == prune.export and path.is_file():
            lacking = _lacking(path, prune, prunes, known)
            if lacking is None:
                return None
            why = lacking
    return (
        f"{why}; put the export into {home.path} as {prune.export}, or the newest whole copy of the log back"
    )


def require_vouched(home: Home, url: str) -> None:
    """Raise `StoreDamaged` where events were removed and nothing but the log says that they were pruned.

    Where a prune was killed before it moved the head that is kept outside, its export vouches, and the head is moved.
    """
    schema.settle(url)
    try:
        reader = Reader.open(url)
    except NoDatabase:
        return
    with closing(reader):
        if not reader.base().position:
            return
        prunes = told(home, url, reader)
        for one, why in unvouched(home, prunes):
            raise StoreDamaged(f"cannot use the log: {why}", position=one.event.position)
        known = known_head(home)
        last = max((one.event.position for one in prunes if one.is_ours), default=0)
        if known is not None and known.position < last:
            with contextlib.suppress(OSError, InvalidRequest):  # the opening that follows says what is wrong
                if reader.verify(start=known.position + 1, known=known).is_intact:
                    HeadFile(home.head).write(reader.head_at(last))


def _prune(event: RecordedEvent, *, is_ours: bool) -> Prune:
    data: Any = {}
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(event.data)
    said = data if isinstance(data, dict) else {}
    position, events = (said[name] if type(said.get(name)) is int else 0 for name in ("position", "events"))
    hash_, export, digest = (str(said.get(name)) for name in ("hash", "export", "export_sha256"))
    return Prune(position, hash_, events, export, digest, event, is_ours)


def _lacking(path: Path, prune: Prune, prunes: Sequence[Prune], known: Head | None) -> str | None:
    """Why the file at `path` is not the export of all that went."""
    from manager import offline  # which few starts need

    try:
        with path.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() != prune.export_sha256:
                return f"{path} has another SHA-256"
        found = offline.read(path)
        if (found.head.position, found.head.hash.hex(), found.events) != (
            prune.position,
            prune.hash,
            prune.events,
        ):
            return f"{path} holds other events"
        if not _begins_where_it_must(path, found.start, prunes):
            return f"{path} begins at {found.start}, and nothing says what became of the events before"
        went = known is not None and known.position <= prune.position
        if known and went and all(known[:2] != head[:2] for head in offline.heads(path)):
            return f"{path} is not of the log that had come to position {known.position}"
    except OutliveError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return None


def _begins_where_it_must(path: Path, start: int, prunes: Sequence[Prune]) -> bool:
    """Whether it begins with the first event, or an earlier prune is told of, in the log or in what went now."""
    if start == 1 or any(one.position == start - 1 for one in prunes):
        return True
    with path.open("rb") as file:
        rows = (json.loads(line) for line in file if b'"LOG_PRUNED"' in line)
        return any(
            row.get("type") == "LOG_PRUNED" and json.loads(row["data"])["position"] == start - 1
            for row in rows
        )
