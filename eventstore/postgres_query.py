"""One query of a stranger's on a PostgreSQL database: in a transaction that only reads and is rolled back, in time.

What its functions may do beyond that is a matter of the role's rights.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from psycopg import errors

from eventstore.errors import InvalidRequest
from eventstore.postgres_errors import ERRORS, Place, place_of, translate
from eventstore.postgres_source import LOCK_MILLISECONDS, Link, connect
from eventstore.query import Answer, QueryTimedOut, Weighed, within

_LATE_SECONDS = 5.0  # for the server to say that time is over
_ASKED_WRONGLY = ("0A", "21", "22", "25", "42", "54", "08P01")  # beginnings of SQLSTATE


def ask(url: str, sql: str, *, limit: int, seconds: float) -> Answer:
    """See `eventstore.query.ask`."""
    place = place_of(url)
    milliseconds = max(1, int(seconds * 1000))
    link = connect(
        Link, place, f"SET statement_timeout = {milliseconds}; SET lock_timeout = {LOCK_MILLISECONDS}"
    )
    return within(seconds, lambda: _ask(link, place, sql, limit, seconds))


def _ask(link: Link, place: Place, sql: str, limit: int, seconds: float) -> Answer:
    with closing(link):
        link.patience = seconds + _LATE_SECONDS
        cursor = link.cursor()
        found = Weighed()
        try:
            # Inside another SELECT there is room for one SELECT only; and `stream` sends one statement, never more.
            asked = f"SELECT * FROM (\n{sql.rstrip().removesuffix(';')}\n) AS asked LIMIT {limit + 1}"  # noqa: S608
            link.execute("BEGIN READ ONLY")
            for row in cursor.stream(asked.encode()):
                found.add(tuple(map(_plain, row)))
        except errors.QueryCanceled as error:
            raise QueryTimedOut(seconds) from error
        except ERRORS as error:
            state = error.sqlstate or ""
            if state.startswith(_ASKED_WRONGLY) and state != "42501":
                detail = " ".join(str(error).split())
                raise InvalidRequest(
                    f"cannot run this statement: {detail}; only reading is allowed"
                ) from error
            raise translate(error, place, "read") or error from error
        except ValueError as error:  # a NUL, or what is no text
            raise InvalidRequest(f"cannot run this statement: {error}; only reading is allowed") from error
        if not cursor.description:
            raise InvalidRequest("cannot run this statement: it gives no columns; write one SELECT")
        columns = tuple(column.name for column in cursor.description)
        return Answer(columns, found.rows[:limit], len(found.rows) > limit)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
