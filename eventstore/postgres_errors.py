"""What a PostgreSQL URL names, and the driver's errors in outlive's words. Needs psycopg (`outlive[postgres]`)."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventstore.errors import InvalidRequest, OutliveError, StoreDamaged, StoreUnavailable

try:
    import psycopg
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:
    raise InvalidRequest(
        f"cannot open a PostgreSQL database: {error}; install the extra: pip install 'outlive[postgres]'"
    ) from error

CONNECT_SECONDS = 5
LOST_SECONDS = 5  # of silence after which a connection whose packets nobody acknowledges is given up
SILENCE_SECONDS = LOST_SECONDS + 2 * 3  # the same where only an answer is waited for: probes are sent
_CONNECTION: dict[str, object] = {
    "application_name": "outlive",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": LOST_SECONDS,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": LOST_SECONDS * 1000,
}
WRITES: dict[str, object] = {"target_session_attrs": "read-write"}
ERRORS = (psycopg.Error,)

_DAMAGE = (errors.UndefinedTable, errors.UndefinedColumn, errors.DataCorrupted, errors.IndexCorrupted)
_ASKED_WRONGLY = (psycopg.IntegrityError, psycopg.DataError, errors.RaiseException, errors.SyntaxError)
NO_WRITES = "it is a standby, or read-only, and takes no writes: name the server that does, or promote it"
TOO_MANY = "the server has no connection left; raise its max_connections"
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.InsufficientPrivilege, "the role may not; see `outlive db grants`"),
    (errors.ReadOnlySqlTransaction, NO_WRITES),
    (
        errors.LockNotAvailable,
        "a table is locked by another session, which pg_stat_activity shows; end that one, then try again",
    ),
    (errors.DiskFull, "the server's disk is full; try again when that is mended"),
    (errors.TooManyConnections, TOO_MANY),
    (errors.InvalidSchemaName, "no schema of its search_path exists; create it, or mend the URL's `options`"),
)
# What keeps a connection from being made before the server is heard has no code: only libpq's words, or the driver's.
_WORDS: tuple[tuple[str, str], ...] = (
    ("SSL was required", "the server does not speak TLS, which sslmode asks for; switch it on there, or mend sslmode"),
    ("SSL error", "TLS cannot be agreed upon; mend the URL's sslmode, sslrootcert or sslcert"),
    ("certificate", "its certificate cannot be checked; mend the URL's sslmode, sslrootcert or sslcert"),
    ("invalid port number", "the URL's port is none; mend it"),
    ("invalid integer value", "the URL has no number where one belongs; mend it"),
    ("failed to resolve host", "the name of the host is not known; mend the URL, or the name server"),
)  # fmt: skip


class Place(NamedTuple):
    """Where a database is: how to connect, and how to call it in messages, without any secret.

    `servers`: how many are named, of which one takes writes.
    """

    parameters: dict[str, Any]
    name: str
    servers: int = 1

    def to_write(self) -> Place:
        """The one server that takes writes, whichever of several is to be read from."""
        return self if self.servers == 1 else self._replace(parameters={**self.parameters, **WRITES})

    @property
    def connect_seconds(self) -> float:
        """How long it takes to connect at the most: each server may be silent."""
        given = str(self.parameters["connect_timeout"])
        return self.servers * float(given if given.isdecimal() and int(given) else CONNECT_SECONDS)


def place_of(url: str) -> Place:
    """What `postgresql://…` names. Raises `InvalidRequest`, which quotes nothing of it: it may have a password."""
    given = _given(url)
    # A slash in a password ends it: what follows it would be shown as the name of the database.
    path = url.partition("//")[2].partition("?")[0].partition("/")[2]
    ports = str(given.get("port") or "").split(",")
    if "@" in path or not all(port.isdecimal() or not port for port in ports):
        raise _unreadable()
    where = given.get("host") or given.get("hostaddr") or "the local socket"
    name = f"PostgreSQL database {given.get('dbname') or given.get('user') or ''} at {where}"
    servers = str(where).count(",") + 1
    # Of several one is the log, and the others may be behind it.
    return Place({**_CONNECTION, **(WRITES if servers > 1 else {}), **given}, name, servers)


def _given(url: str) -> dict[str, Any]:
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise _unreadable() from None


def _unreadable() -> InvalidRequest:
    return InvalidRequest(
        "cannot open this PostgreSQL database: its URL cannot be read (what is in it is not shown: it may have a"
        " password); write postgresql://user@host:port/database?name=value, and %40, %2F, %3A for @, / and : in a"
        " password"
    )


def translate(
    error: BaseException, place: Place, action: str, *, advice: str | None = None
) -> OutliveError | None:
    """Outlive's error for a driver's; `advice`: what to do, where that is known. None if it is not the driver's."""
    if not isinstance(error, ERRORS):
        return None
    what = f"cannot {action} the {place.name}"
    detail = " ".join(str(error).split())
    if isinstance(error, _DAMAGE):
        return StoreDamaged(f"{what}: {detail}; run `outlive verify`, or restore a copy")
    if isinstance(error, _ASKED_WRONGLY):
        return InvalidRequest(f"{what}: {detail}; the database refuses it")
    if type(error) is psycopg.ProgrammingError:  # before anything was sent: what was to be connected to
        return InvalidRequest(f"{what}: {detail}; mend the URL")
    return StoreUnavailable(f"{what}: {advice or _advice(error, detail)} ({detail or type(error).__name__})")


def _advice(error: psycopg.Error, detail: str) -> str:
    for kind, text in _ADVICE:
        if isinstance(error, kind):
            return text
    if error.sqlstate is None:
        for said, text in _WORDS:
            if said in detail:
                return text
    return "try again when it is back"


def is_lost(error: psycopg.Error) -> bool:
    """Whether nothing can be asked of the connection any more: it was cut, or an answer is still to come."""
    return error.sqlstate is None or error.sqlstate.startswith(("57P", "08"))
