"""The server's side of a connection that was lost: ended, so that nothing is done any more of what was sent over it.

The network may keep a message back, and carry it to the server when its sender has given the connection up. While that
session lasts, an append can still be stored that the log was said not to hold.
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg import errors

from eventstore.errors import StoreUnavailable
from eventstore.postgres_errors import ERRORS, Place, translate
from eventstore.postgres_source import ANSWER_SECONDS, Link

END_SECONDS = 5  # for a session to end: it takes milliseconds, unless its process hangs
assert END_SECONDS < ANSWER_SECONDS
# As the user who logged in, whatever role he takes on: he sees when his own sessions began, and may end them.
_MYSELF, _AGAIN = "SET ROLE NONE", "RESET ROLE"
# By the function beneath pg_stat_activity: the view costs each new connection 2 ms.
_BEGUN_AT = "extract(epoch FROM backend_start)::text"
WHOSE = f"{_MYSELF}; SELECT pid, {_BEGUN_AT} FROM pg_stat_get_activity(pg_backend_pid()); {_AGAIN}"  # noqa: S608
# A pooler may have given us the session of the connection that it lost: then nothing is under way in it.
_END = (
    f"SELECT pg_terminate_backend(pid, {END_SECONDS * 1000}) FROM pg_stat_get_activity(%s)"  # noqa: S608
    f" WHERE pid <> pg_backend_pid() AND {_BEGUN_AT} = %s"
)


class Session(NamedTuple):
    """Which one it is, as `WHOSE` says: others have the same pid later, and the server may have been started anew."""

    pid: int
    begun_at: str


def end(lost: Session, link: Link, place: Place) -> None:
    """Return when the server has nothing left of a session. Raises `StoreUnavailable`: it may have."""
    try:
        link.execute(_MYSELF)
        ended = link.execute(_END, lost).fetchall()
        link.execute(_AGAIN)
    except errors.InsufficientPrivilege as error:
        raise StoreUnavailable(
            f"cannot write to the {place.name}: a lost connection's session, process {lost.pid} of the server, is to"
            f" end first, and the role may not end it ({error}); let it execute pg_terminate_backend; it is tried again"
        ) from error
    except ERRORS as error:
        raise translate(error, place, "end a lost session of") or error from error
    if ended == [(False,)]:
        raise StoreUnavailable(
            f"cannot write to the {place.name}: a lost connection's session, process {lost.pid} of the server, may"
            f" still store what was sent, and did not end in {END_SECONDS} s; see there why it hangs; it is tried again"
        )
