"""How far a log can still be read whose database is damaged, or ends too early."""

from __future__ import annotations

from contextlib import closing

from eventstore import chain
from eventstore.chain import EMPTY, Verdict
from eventstore.errors import StoreDamaged
from eventstore.reader import RawRows
from eventstore.record import Head
from eventstore.sqlite_file import SqliteSource, path_of


def verify(url: str, known: Head | None, why: str) -> Verdict:
    """The verdict on the rows from the first up to the damage, of which the database said `why`.

    Intact where all rows up to the one that was `known` can be read and are whole: the damage is elsewhere then.
    """
    try:
        with closing(SqliteSource(path_of(url), texts_as_bytes=True, is_cut=True)) as source:
            base = _base(source)
            rows = RawRows(source, base.position + 1, None)
            verdict, _ = chain.walk(rows, start=base.position + 1, previous_hash=base.hash)
    except StoreDamaged:  # not even its first page, or the list of its tables
        return chain.unreadable(chain.intact(0, chain.GENESIS), why)
    is_short = verdict.head_position < (0 if known is None else known.position)
    if verdict.is_intact and (rows.failure is not None or is_short):
        return chain.unreadable(verdict, why)
    return verdict


def _base(source: SqliteSource) -> Head:
    try:
        found = source.fetch("SELECT position, hash, recorded_at FROM pruned ORDER BY position DESC LIMIT 1")
    except StoreDamaged:
        return EMPTY
    return Head(*found[0]) if found else EMPTY
