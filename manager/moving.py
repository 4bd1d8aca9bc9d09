"""Carrying a home's log over to another database: verified before and after, and the old one set aside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from itertools import islice

from sqlalchemy import Table

from eventstore import payloads, schema, segments, trust
from eventstore.crashpoints import crash_point
from eventstore.errors import InvalidRequest, NoDatabase, StoreDamaged
from eventstore.reader import PAGE_ROWS, Reader
from eventstore.record import Head
from eventstore.statements import Statements
from eventstore.tables import metadata
from manager.home import Home
from manager.verification import verify_home
from manager.view import database_url
from projections.aside import in_order
from projections.checking import differences
from projections.rows import values_of

_GUARDED = ("events", "epochs", "pruned")


def move(home: Home, target: str) -> Head:
    """Copy the log in the home, and all that is made from it, to the empty database at `target`; its head.

    For whoever holds the home's lock. The file becomes `events.db.moved`. Again after a kill, it is finished. Raises
    `InvalidRequest` for a database that holds something else, `StoreDamaged` for a log that is not whole.
    """
    source = database_url(home.path, None)
    found = verify_home(home, source)
    if found is None:
        raise InvalidRequest(f"cannot move the log of {home.path}: nothing has been recorded there yet")
    if not found.is_intact:
        raise StoreDamaged(f"cannot move the log of {home.path}: it is not whole; see `outlive verify`")
    with closing(Reader.open(source)) as reader, reader.snapshot():
        head = reader.head()
        if _head_of(target) != head:
            _copy(reader, target)
    _require_same(target, head)
    _make_one_file(source)
    crash_point("tool.before_move")
    os.rename(home.database, trust.moved_from(home.database))
    crash_point("tool.after_move")
    return head


def _make_one_file(source: str) -> None:
    """Bring what is in the WAL into the database, which is to be kept by itself."""
    backend = schema.backend_for(source)
    try:
        if not backend.scrub():
            raise InvalidRequest("cannot move the log: somebody reads it; end that, and try again")
    finally:
        backend.close()


def _head_of(url: str) -> Head:
    """The head of the log there, which is made where there is none."""
    try:
        reader = Reader.open(url)
    except NoDatabase:
        schema.upgrade(url)
        reader = Reader.open(url)
    with closing(reader):
        return reader.head()


def _copy(reader: Reader, target: str) -> None:
    backend = schema.backend_for(target)
    try:
        with backend.write() as begun:
            statements = Statements(begun.connection)
            if statements.rows("SELECT 1 FROM events LIMIT 1"):
                raise InvalidRequest(
                    "cannot move the log there: that database holds another; name an empty one"
                )
            for table in metadata.sorted_tables:
                if table.name in _GUARDED:
                    with statements.unguarded(table.name):
                        _copy_table(reader, statements, table)
                else:
                    _copy_table(reader, statements, table)
    finally:
        backend.close()


def _copy_table(reader: Reader, statements: Statements, table: Table) -> None:
    names: Sequence[str] = [column.name for column in table.columns]
    marks = ", ".join("?" * len(names))
    insert = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 (our own names)
    rows = in_order(reader.rows, table)
    while page := list(islice(rows, PAGE_ROWS)):
        statements.run_many(insert, list(map(values_of(table), page)))


def _require_same(target: str, head: Head) -> None:
    verdict = segments.verify(target, known=head)
    with closing(Reader.open(target)) as reader:
        wrong = [] if verdict.is_intact else [verdict.detail]
        wrong += [str(one) for one in islice(differences(reader), 1)] + list(
            islice(payloads.wrong(reader), 1)
        )
        if wrong or reader.head() != head:
            raise StoreDamaged(
                f"cannot use the copy of the log: {'; '.join(wrong) or 'it has another head'}; "
                "the log in the home is as it was; empty that database and try again"
            )
