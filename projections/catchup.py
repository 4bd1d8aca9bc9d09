"""Bringing the projections that follow the log up to it: page by page, rows and checkpoint in one transaction.

Any number of processes may do it at once: each page begins at the checkpoint that its own transaction finds.
"""

from __future__ import annotations

from collections.abc import Callable

from eventstore.inline import pages, write_checkpoint
from eventstore.statements import Statements
from eventstore.store import EventStore
from projections.checkpoints import checkpoints
from projections.kinds import FOLLOWING
from projections.rebuild import rebuild

PAGE_EVENTS = 100  # for some 5 ms of the write lock, which appends wait for


def catch_up(store: EventStore, *, is_over: Callable[[], bool] = lambda: False) -> int:
    """Take in all that the log holds now; the position up to which that was done. `is_over`: to end it early.

    Rows of another version of a projection, and rows that are ahead of the log, are made anew beside the live ones.
    Raises `StoreUnavailable`, and `StoreDamaged` for an event that cannot be read.
    """
    head = store.head().position
    reader = store.reader()
    try:
        kept = checkpoints(reader)
    finally:
        reader.close()
    for kind in FOLLOWING:
        version, position = kept.get(kind.name, (kind.version, 0))
        if version != kind.version or position > head:
            rebuild(store, [kind.name])
    position = 0
    while position < head and not is_over():
        position = _take_in_page(store, head)
    return position


def _take_in_page(store: EventStore, head: int) -> int:
    with store.write() as connection:
        statements = Statements(connection)
        at = dict(statements.rows("SELECT name, position FROM projections"))
        start = min(at.get(kind.name, 0) for kind in FOLLOWING)
        page = next(pages(statements, after=start, until=min(head, start + PAGE_EVENTS)), [])
        for kind in FOLLOWING:
            news = [event for event in page if event.position > at.get(kind.name, 0)]
            if news:
                projection = kind.over(kind.tables)
                projection.apply(connection, news)
                write_checkpoint(statements, projection, news[-1].position)
    return page[-1].position if page else head
