"""The hash chain that makes changes to the log visible. Pure; a stranger's program can follow this description.

For each row, in order of position:

    leaf = SHA-256(0x00 || field || field || …)
    hash = SHA-256(0x01 || previous_hash || leaf)

The fields are those of `ORDER`, each as a u32 big-endian length followed by that many bytes: an integer is a u64
big-endian (length 8), a text its UTF-8 bytes, and null the length 0xFFFFFFFF with nothing after it. The first row's
`previous_hash` is 32 zero bytes. The prefixes 0x00 and 0x01 are RFC 6962's, so that a Merkle tree over the leaves can
be added without touching a row.

What a chain kept beside the data can't show: a tail cut off, an old copy put back, a suffix computed anew. For that the
log is compared with a head that was kept elsewhere (`eventstore/headfile.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

from eventstore.record import Head, RecordedEvent, rfc3339

ORDER = (
    "position",
    "version",
    "schema_version",
    "epoch",
    "occurred_at",
    "recorded_at",
    "attempt",
    "event_id",
    "stream",
    "type",
    "home",
    "host",
    "actor",
    "correlation_id",
    "causation_id",
    "data",
)
GENESIS = bytes(32)
EMPTY = Head(0, GENESIS, 0)

_NULL = b"\xff\xff\xff\xff"
_INTEGERS = struct.Struct(">" + "IQ" * 6)
_INTEGER = struct.Struct(">IQ")
_LENGTH = [n.to_bytes(4, "big") for n in range(1024)]
_BELONGS_WITHIN = 1000  # positions searched around a bad row, to tell a moved row from an edited one


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verification found. `position` and `problem` name the first bad row and what is wrong with it.

    `problem` is "row changed", "row missing", "order", "previous hash", "unreadable"; where the log was known to be
    otherwise, "tail missing" or "another log"; where nobody knows any more, "head unknown". `checked` counts the good
    rows; the head is the last good row's position and hash.
    """

    is_intact: bool
    checked: int
    position: int | None
    problem: str | None
    detail: str
    head_position: int
    head_hash: bytes


class Edges(NamedTuple):
    """What rows that follow each other have in common with those around them: by stream, and recorded_at."""

    first_versions: dict[bytes, int]
    last_versions: dict[bytes, int]
    first_recorded_at: int
    last_recorded_at: int


def leaf(row: Sequence[Any]) -> bytes:
    """The leaf hash of values in `ORDER`, texts as UTF-8. Raises struct.error or TypeError for impossible ones."""
    return sha256(b"\0" + _content(row)).digest()


def _content(row: Sequence[Any]) -> bytes:
    position, version, schema_version, epoch, occurred_at, recorded_at, attempt = row[:7]
    numbers = _INTEGERS.pack(
        8, position, 8, version, 8, schema_version, 8, epoch, 8, occurred_at, 8, recorded_at
    )
    parts = [numbers, _NULL if attempt is None else _INTEGER.pack(8, attempt)]
    for text in row[7:16]:
        if text is None:
            parts.append(_NULL)
        else:
            parts.append(len(text).to_bytes(4, "big"))
            parts.append(text)
    return b"".join(parts)


def link(previous_hash: bytes, leaf_hash: bytes) -> bytes:
    """The hash of a row: its leaf, tied to the row before."""
    return sha256(b"\1" + previous_hash + leaf_hash).digest()


def is_own_hash(row: RecordedEvent) -> bool:
    """Whether a row's columns and its `previous_hash` give its hash; says nothing about the rows around it."""
    values = [getattr(row, name) for name in ORDER]
    texts = (value.encode() if isinstance(value, str) else value for value in values[7:])
    try:
        return link(row.previous_hash, leaf((*values[:7], *texts))) == row.hash
    except (struct.error, TypeError):
        return False


def verify(rows: Iterable[Sequence[Any]], *, start: int = 1, previous_hash: bytes = GENESIS) -> Verdict:
    """Check rows (`ORDER`, then previous_hash and hash; texts as bytes) that begin at `start` after `previous_hash`.

    Positions must be dense, versions dense in each stream, recorded_at must not go backwards. Reads one row at a time
    and remembers one number a stream.
    """
    return walk(rows, start=start, previous_hash=previous_hash)[0]


# fmt: off
def walk(
    rows: Iterable[Sequence[Any]], *, start: int = 1, previous_hash: bytes = GENESIS
) -> tuple[Verdict, Edges]:
    """As `verify`, and what must fit the rows before and after these; the edges count where all are good."""
    # Written out, in the order of what a row costs: a long log is as long to check as this loop.
    expected, running, first_at, latest = start, previous_hash, -1, 0
    firsts: dict[bytes, int] = {}
    versions: dict[bytes, int] = {}
    last: int | None = 0
    known, pack, join, size, null = versions.get, _INTEGERS.pack, b"".join, _LENGTH, _NULL
    new_leaf, new_link = sha256(b"\0").copy, sha256(b"\1").copy
    for row in rows:
        (position, version, schema_version, epoch, occurred_at, recorded_at, attempt, event_id, stream,
         kind, home, host, actor, correlation, causation, data, before, own) = row
        try:
            content = join((
                pack(8, position, 8, version, 8, schema_version, 8, epoch, 8, occurred_at, 8, recorded_at),
                null if attempt is None else _INTEGER.pack(8, attempt),
                size[len(event_id)], event_id, size[len(stream)], stream, size[len(kind)], kind,
                size[len(home)], home, size[len(host)], host, size[len(actor)], actor,
                size[len(correlation)], correlation,
                null if causation is None else size[len(causation)], causation or b"",
                len(data).to_bytes(4, "big"), data,
            ))
        except (IndexError, struct.error, TypeError):  # a long text, or an impossible value
            try:
                content = _content(row)
            except (struct.error, TypeError):
                break
        last = known(stream)
        if last is None:
            firsts[stream] = version
            last = version - 1 if start > 1 else 0
        hashed = new_leaf()
        hashed.update(content)
        linked = new_link()
        linked.update(running + hashed.digest())
        computed = linked.digest()
        if (position != expected or before != running or own != computed
                or version != last + 1 or recorded_at < latest):
            break
        versions[stream], latest, running = version, recorded_at, computed
        expected += 1
        if first_at < 0:
            first_at = recorded_at
    else:
        verdict = intact(expected - 1, running, checked=expected - start)
        return verdict, Edges(firsts, versions, first_at, latest)
    problem, detail = _problem(row, expected, running, last or 0)
    return _bad(problem, detail, expected, start, running), Edges({}, {}, 0, 0)
# fmt: on


def do_fit(parts: Iterable[Edges]) -> bool:
    """Whether parts of one chain, each good in itself and in order of position, also follow each other."""
    versions: dict[bytes, int] | None = None
    recorded_at = 0
    for part in parts:
        if versions is None:
            versions = dict(part.last_versions)
        elif part.first_recorded_at < recorded_at or any(
            versions.get(stream, 0) + 1 != first for stream, first in part.first_versions.items()
        ):
            return False
        versions.update(part.last_versions)
        recorded_at = part.last_recorded_at
    return True


def intact(head_position: int, head_hash: bytes, *, checked: int = 0) -> Verdict:
    """The verdict on rows that are all good."""
    return Verdict(
        is_intact=True,
        checked=checked,
        position=None,
        problem=None,
        detail="",
        head_position=head_position,
        head_hash=head_hash,
    )


def missing(position: int) -> Verdict:
    """The verdict on a log that lacks the row at `position`."""
    return _bad("row missing", f"expected position {position}, found none", position, position, GENESIS)


def unreadable(verdict: Verdict, why: str) -> Verdict:
    """`verdict` on the rows before one that the database cannot read."""
    position = verdict.head_position + 1
    return replace(verdict, is_intact=False, position=position, problem="unreadable", detail=why)


def without_evidence(verdict: Verdict, why: str) -> Verdict:
    """`verdict` on a log of which nobody can say any more how long it was."""
    position = verdict.head_position + 1
    return replace(verdict, is_intact=False, position=position, problem="head unknown", detail=why)


def compare(verdict: Verdict, known: Head, found: bytes | None, *, agreed: int = 0) -> Verdict:
    """`verdict` on a log that was `known` to be longer or another; `found` is the hash at that position now.

    `agreed`: up to which position it is what it was known to be.
    """
    if known.position == 0 or found == known.hash:
        return verdict
    checked = verdict.checked
    was = f"the log had come to position {known.position} at {rfc3339(known.recorded_at)}"
    if found is None and verdict.head_position < known.position:
        position, problem = verdict.head_position + 1, "tail missing"
        detail = f"it ends at {verdict.head_position}, and {was}"
    else:
        position, problem = known.position, "another log"
        detail = f"this row or one before it is not what it was when {was}"
        checked = max(0, agreed - (verdict.head_position - verdict.checked))
    return replace(
        verdict, is_intact=False, position=position, problem=problem, detail=detail, checked=checked
    )


def _problem(row: Sequence[Any], expected: int, running: bytes, last_version: int) -> tuple[str, str]:
    """What is wrong with a row that does not follow those before it."""
    found = row[0]
    if found != expected:
        return "row missing" if found > expected else "order", f"expected position {expected}, found {found}"
    try:
        computed = link(running, leaf(row))
    except (struct.error, TypeError):
        return "row changed", "a column holds an impossible value"
    if row[16] != running or computed != row[17]:
        return _diagnose(row, running)
    if row[1] != last_version + 1:
        return "order", f"version {row[1]} is not next in its stream"
    return "order", "recorded before the row that precedes it"


def _diagnose(row: Sequence[Any], running: bytes) -> tuple[str, str]:
    """Tell a row that was moved or cut from its predecessor from one that was edited."""
    if link(running, leaf(row)) == row[17]:
        return "row changed", "its previous_hash was changed"
    position = row[0]
    offsets = range(_BELONGS_WITHIN) if isinstance(row[16], bytes) else ()
    for offset in offsets:
        for candidate in {max(position - offset, 1), position + offset}:
            if link(row[16], leaf((candidate, *row[1:]))) == row[17]:
                if candidate == position:
                    return "previous hash", "the row is whole but does not follow the row before it"
                return "order", f"the row was written at position {candidate}"
    return "row changed", "its columns do not give its hash"


def _bad(problem: str, detail: str, position: int, start: int, running: bytes) -> Verdict:
    return Verdict(
        is_intact=False,
        checked=position - start,
        position=position,
        problem=problem,
        detail=detail,
        head_position=position - 1,
        head_hash=running,
    )
