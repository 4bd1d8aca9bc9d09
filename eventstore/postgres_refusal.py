"""Why a server lets nobody in, by its code: the driver has only its words, which are in the server's language.

So it is tried once more, with libpq's trace of the messages, where the code is.
"""

from __future__ import annotations

import os
import re
import select
import time
from functools import lru_cache
from typing import NamedTuple

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, PGconn, PollingStatus, Trace, abc

from eventstore.postgres_errors import NO_WRITES, TOO_MANY, Place

_SECONDS = 2.0  # for the second try: the first one was answered
_MOST_BYTES = 1 << 20
_CODE = re.compile(rb'^B\t.*\tErrorResponse\t.* C "([0-9A-Z]{5})"', re.MULTILINE)
_ON = b"on"


class Refusal(NamedTuple):
    """What came of it: the code (SQLSTATE) of the server's last error, and what is known without one."""

    code: str | None
    wants_password: bool
    is_read_only: bool


def advice(error: psycopg.Error, place: Place) -> str | None:
    """What to do about a connection that could not be made; None where the server was not heard."""
    if error.sqlstate is not None or error.pgconn is None or isinstance(error, errors.ConnectionTimeout):
        return None
    asked = {name: value for name, value in place.parameters.items() if name != "target_session_attrs"}
    return _advice(make_conninfo("", **asked), str(error))


# The same words mean the same, and each trace costs memory that is not given back.
@lru_cache(maxsize=64)
def _advice(server: str, words: str) -> str | None:
    found = refusal(server)
    return None if found is None else advice_for(found, words)


def advice_for(found: Refusal, words: str) -> str | None:
    """What to do about a refusal; `words` are the driver's, of which only a file's name is looked for."""
    if found.is_read_only:
        return NO_WRITES
    if found.wants_password:
        return "it wants a password; write it into ~/.pgpass (mode 0600), or into the URL"
    code = found.code or ""
    if code == "28000" and "pg_hba.conf" in words:
        return "the server does not let this host, user or encryption in; mend its pg_hba.conf"
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2])


def refusal(server: str) -> Refusal | None:
    """Try to connect to a server, named as libpq has it, and leave at once; None where it cannot be told."""
    connection = PGconn.connect_start(server.encode())
    trace = os.memfd_create("trace", os.MFD_CLOEXEC)
    try:
        connection.trace(trace)
        connection.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        _wait(connection)
        connection.untrace()
        codes = _CODE.findall(os.pread(trace, _MOST_BYTES, 0))
        is_read_only = connection.status == ConnStatus.OK and _ON in (
            connection.parameter_status(b"in_hot_standby"),
            connection.parameter_status(b"default_transaction_read_only"),
        )
        return Refusal(codes[-1].decode() if codes else None, connection.needs_password, is_read_only)
    except (psycopg.Error, OSError):
        return None
    finally:
        connection.finish()
        os.close(trace)


def _wait(connection: abc.PGconn) -> None:
    """Until it is connected, refused, or late."""
    deadline = time.monotonic() + _SECONDS
    while connection.status != ConnStatus.BAD:
        polled = connection.connect_poll()
        if polled not in (PollingStatus.READING, PollingStatus.WRITING):
            return
        waiting = select.poll()
        waiting.register(
            connection.socket, select.POLLIN if polled == PollingStatus.READING else select.POLLOUT
        )
        left = deadline - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            return


_BY_CODE = {
    "28P01": "the password is wrong; mend it in ~/.pgpass, or in the URL",
    "28000": "there is no such role, or the server does not take you for it; create it (createuser), or mend the URL or"
    " pg_hba.conf",
    "3D000": "there is no such database; create it (createdb), or mend the URL",
    "42501": "the role may not connect to this database; GRANT CONNECT, or mend the URL",
    "53300": TOO_MANY,
    "57P03": "it is starting or stopping, or a standby that lets nobody read; try again when it is up",
}
_BY_CLASS = {
    "22": "the server does not take what the URL sets; mend it",
    "42": "the server does not take what the URL sets; mend it",
}
