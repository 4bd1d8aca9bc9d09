"""What a process that appends alone knows of the log without asking; a database that is far away only checks it.

The check goes with the append, in the same message and under the same lock: if anything is otherwise, nothing of the
append is stored, and it is done again with everything asked. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from eventstore.chain import EMPTY
from eventstore.errors import StoreUnavailable
from eventstore.record import Head
from eventstore.statements import Query, Rows

if TYPE_CHECKING:
    from eventstore.appending import Appending, Order
    from eventstore.inline import Inline

# That ids are new, and names free, their indexes say at the insert.
_CHECK = """SELECT 1 / CASE WHEN
        (SELECT hash FROM events ORDER BY position DESC LIMIT 1) = ?
        AND coalesce((SELECT epoch FROM epochs WHERE home = ?), 0) = ?
        AND NOT EXISTS (SELECT FROM json_each(CAST(? AS TEXT)) believed WHERE CAST(value AS BIGINT)
            <> coalesce((SELECT max(version) FROM events WHERE stream = believed.key), 0)){}
    THEN 1 ELSE 0 END AS is_as_believed"""
_PROJECTION = (
    " AND EXISTS (SELECT FROM projections WHERE name = ? AND version = CAST(? AS INTEGER) AND position = ?)"
)


class Disproved(Exception):
    """The log was not what it was believed to be, or may not have been. What was stored all the same is found then."""


class First(NamedTuple):
    """What a transaction asks first, or the `answers`: right unless `check` fails, or an insert.

    `known`: how far the log had come, for all that is known, when it was decided what to ask.
    """

    queries: Sequence[Query] = ()
    check: Query | None = None
    answers: Sequence[Rows] = ()
    known: Head = EMPTY


NOTHING = First()


class Memory:
    """Of one process. It believes nothing until two appends in a row found nobody else's between them."""

    def __init__(self, home: str, inlines: Sequence[Inline], *, is_used: bool) -> None:
        self._home = home
        self._is_used = is_used
        self._inlines = [(inline.name, inline.version) for inline in inlines]
        self._head: Head | None = None
        self._epoch = 0
        self._is_alone = False

    def note(self, appending: Appending) -> None:
        """The log ends with what was appended, durably."""
        self._is_alone = self._is_used and appending.found.tail == self._head
        self._head, self._epoch = appending.head, appending.epoch

    @contextmanager
    def doubted(self) -> Iterator[None]:
        """Whatever goes wrong, a refusal too, may come of a wrong belief: it is forgotten, and all is to be asked."""
        try:
            yield
        except StoreUnavailable:
            raise
        except Exception:
            self._head, self._is_alone = None, False

    def believed(self, orders: Sequence[Order]) -> First | None:
        """For an append of `orders`: that all is what their senders think it is. None: ask."""
        if self._head is None or not self._is_alone:
            return None
        versions: dict[str, int] = {}
        for order in orders:
            for stream, expected, _ in order.batches:
                versions.setdefault(stream, expected)
        head, epoch = self._head, self._epoch
        projections = [(*inline, head.position) for inline in self._inlines]
        values = [value for projection in projections for value in projection]
        check = Query(
            _CHECK.format(_PROJECTION * len(projections)),
            (head.hash, self._home, epoch, json.dumps(versions, ensure_ascii=False), *values),
        )
        end = (head.position, head.hash, head.recorded_at, epoch, head.hash)
        answers: list[Rows] = [[end], [], list(versions.items()), projections]
        return First(check=check, answers=answers + [[] for _ in self._inlines], known=head)
