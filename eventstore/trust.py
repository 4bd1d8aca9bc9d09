"""Whether a log may be written to: it must hold what it was known to be, and its last rows must be a whole chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eventstore import chain
from eventstore.chain import Verdict
from eventstore.checkpoints import CheckpointFile
from eventstore.errors import StoreDamaged, StoreUnavailable
from eventstore.reader import Reader
from eventstore.record import Head, RecordedEvent

if TYPE_CHECKING:
    from eventstore.inline import Inline
    from eventstore.lookups import Found

CHECKED_ROWS = 10_000  # verified at each opening, at some 6 µs a row

_HEADS_A_QUERY = 500
_ADVICE = "nothing was changed; put the newest whole copy back, see `outlive verify`"


class Kept(Protocol):
    """Checkpoints in a file."""

    @property
    def path(self) -> Path:
        """The file."""

    def holds(self, position: int) -> bool:
        """Whether there is one at `position`."""


def require_whole(
    reader: Reader, known: Head | None, *, rows: int | None = None, checkpoints: Sequence[Head] = ()
) -> None:
    """Raise `StoreDamaged` with the first bad position; `known` None: that nothing was ever recorded.

    Raises `StoreUnavailable` where the end of it may only not have arrived yet.
    """
    try:
        verdict = reader.verify(last=CHECKED_ROWS if rows is None else rows)
    except StoreDamaged:
        verdict = reader.verify()  # which takes longer, and finds the first bad row
    if verdict.is_intact:
        verdict = contradicted(reader, verdict, [*checkpoints, *([] if known is None else [known])])
    require_arrived(reader, verdict)
    if not verdict.is_intact:
        raise StoreDamaged(
            f"cannot use the log: from position {verdict.position} on it is not what was written "
            f"({verdict.problem}: {verdict.detail}); {_ADVICE}",
            position=verdict.position,
        )
    if known is None and verdict.head_position:
        raise StoreDamaged(
            "cannot use the log: the file that says how far it had come is missing; put it back, see `outlive verify`",
            position=verdict.head_position + 1,
        )


def lag(reader: Reader, verdict: Verdict) -> str | None:
    """Why the end that a log lacks may be still to come; None where that is not so."""
    if verdict.problem != "tail missing" or not reader.is_standby():
        return None
    return f"the server is a standby, and behind: {verdict.detail}; name the server that takes writes"


def require_arrived(reader: Reader, verdict: Verdict) -> None:
    """Raise `StoreUnavailable` where all that speaks against a log is that its end may be still to come."""
    if why := lag(reader, verdict):
        raise StoreUnavailable(f"cannot tell whether all of the log is there: {why}")


def contradicted(reader: Reader, verdict: Verdict, known: Iterable[Head]) -> Verdict:
    """`verdict` on a log that is whole, unless it is not what it was known to be: at the first of these, in order.

    Of a log that was cut it is said how far it is known to have come.
    """
    base = reader.base()
    agreed = base.position
    wanted = (head for head in known if head.position >= base.position)
    while part := list(islice(wanted, _HEADS_A_QUERY)):
        marks = ", ".join("?" * len(part))
        query = f"SELECT position, hash FROM events WHERE position IN ({marks})"  # noqa: S608 (marks alone)
        found = {base.position: base.hash, **dict(reader.rows(query, [head.position for head in part]))}
        for head in part:
            compared = chain.compare(verdict, head, found.get(head.position), agreed=agreed)
            if not compared.is_intact and verdict.head_position < head.position:
                return chain.compare(verdict, max(head, *part, *wanted), None, agreed=agreed)
            if not compared.is_intact:
                return compared
            agreed = head.position
    return verdict


def wrong_row(reader: Reader, rows: Iterable[RecordedEvent]) -> int | None:
    """The position of the first of some rows that does not give its hash, or does not fit the rows around it."""
    base = reader.base()
    wanted = iter(rows)
    while part := list(islice(wanted, _HEADS_A_QUERY)):
        positions = [row.position + step for row in part for step in (-1, 1)]
        marks = ", ".join("?" * len(positions))
        query = f"SELECT position, previous_hash, hash FROM events WHERE position IN ({marks})"  # noqa: S608 (marks alone)
        around = {position: hashes for position, *hashes in reader.rows(query, positions)}
        around[base.position] = [chain.GENESIS, base.hash]
        for row in part:
            before, after = around.get(row.position - 1), around.get(row.position + 1)
            fits = (
                before is not None
                and before[1] == row.previous_hash
                and (after is None or after[0] == row.hash)
            )
            if not fits or not chain.is_own_hash(row):
                return row.position
    return None


def newest(file: CheckpointFile) -> list[Head]:
    """What the newest checkpoints say, in order of position; `file` goes on from the last. Raises `StoreDamaged`."""
    recent = list(file.read(is_recent=True))
    for checkpoint in recent:
        if file.is_forged(checkpoint):
            raise StoreDamaged(
                f"cannot use the log: {file.path} holds a checkpoint of position {checkpoint.head.position} whose "
                f"signature is not that of the key it names; {_ADVICE}",
                position=checkpoint.head.position,
            )
    file.go_on_from(recent[-1] if recent else None)
    return sorted(checkpoint.head for checkpoint in recent)


def lost(file: Kept, position: int) -> str | None:
    """What is to be said where a checkpoint was written to `file` at `position`, if not 0, and is not there now.

    Raises `StoreDamaged`, `StoreUnavailable`.
    """
    if not position or file.holds(position):
        return None
    return (
        f"checkpoints up to position {position} were written and are gone from {file.path}; put that file back, tell "
        "where it is (OUTLIVE_CHECKPOINTS), or begin anew with `outlive checkpoint`"
    )


def require_epoch(reader: Reader, home: str) -> None:
    """Raise `StoreDamaged` where the home's epoch is not that of its last event; one could be given twice then."""
    (kept,) = reader.rows("SELECT max(epoch) FROM epochs WHERE home = ?", (home,))
    logged = reader.rows(
        "SELECT epoch FROM (SELECT position, home, epoch FROM events ORDER BY position DESC LIMIT ?) newest"
        " WHERE home = ? ORDER BY position DESC LIMIT 1",
        (CHECKED_ROWS, home),
    )
    if logged and logged[0][0] != (kept[0] or 0):
        raise StoreDamaged(
            f"cannot use the log: its epoch is {kept[0]}, its last event says {logged[0][0]}; run `outlive rebuild`"
        )


def lagging(reader: Reader, inlines: Sequence[Inline]) -> list[Inline]:
    """Those whose rows have to be made anew. Raises `StoreDamaged` where others' are not what the log says."""
    head = reader.head().position
    kept = {name: rest for name, *rest in reader.rows("SELECT name, version, position FROM projections")}
    found = []
    for inline in inlines:
        version, position = kept.get(inline.name, (None, 0))
        if version != inline.version or position < head:
            found.append(inline)
            continue
        wrong = (
            f"they stand at {position}, the log ends at {head}"
            if position > head
            else inline.doubt(reader, rows=CHECKED_ROWS)
        )
        if wrong:
            raise StoreDamaged(f"cannot use the rows of {inline.name}: {wrong}; run `outlive rebuild`")
    return found if head else []


def require_grown(found: Found, known: Head, *, pruned_to: Callable[[], int]) -> None:
    """Raise `StoreDamaged` unless an open log still ends where this process left it, or goes on from there."""
    tail = found.tail
    if known.position == 0 or tail[:2] == known[:2]:
        return
    is_pruned = found.hash_before is None and known.position < tail.position and known.position <= pruned_to()
    if is_pruned or (found.hash_before == known.hash and known.position < tail.position):
        return
    raise StoreDamaged(
        f"cannot append: the log ends at {tail.position}, and it had come to {known.position} and another hash: "
        "somebody changed it while it was open, or another server took over that did not have all of it; put it back",
        position=min(tail.position + 1, known.position),
    )


def moved_from(database: Path) -> Path:
    """Where a log is kept that was carried over from `database` to another."""
    return database.with_name(f"{database.name}.moved")


def moved(database: Path) -> StoreDamaged | None:
    """The error for a log that was carried over, and is looked for where it was; None for any other."""
    if not moved_from(database).exists():
        return None
    return StoreDamaged(
        f"cannot find the log {database}: it was moved to another database; name that with --database-url or "
        "OUTLIVE_DATABASE_URL"
    )


def gone(known: Head, database: Path | None = None) -> StoreDamaged:
    """The error for a log of which nothing is left, at `database` if that is a file."""
    return (database and moved(database)) or StoreDamaged(
        f"cannot use the log: there is none, and it had come to position {known.position}; put it back, "
        "or name the database, and its search_path, that has it",
        position=1,
    )


def unsaid(reader: Reader) -> str | None:
    """What is wrong where the log was pruned and does not say so itself."""
    base = reader.base()
    if not base.position:
        return None
    said = (json.loads(event.data) for event in reader.events(types=("LOG_PRUNED",)))
    if any((one.get("position"), one.get("hash")) == (base.position, base.hash.hex()) for one in said):
        return None
    return f"its events up to {base.position} were removed, and no event says by whom"
