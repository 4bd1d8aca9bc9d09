"""What the roles of a PostgreSQL database may: the application appends, a reader reads, and nobody changes history."""

from __future__ import annotations

from collections.abc import Iterator

from eventstore.errors import InvalidRequest

_APPEND_ONLY = {"events": "INSERT", "epochs": "INSERT, UPDATE"}
_WRITTEN = {
    "projections": "INSERT, UPDATE",
    "payloads": "INSERT, UPDATE",
    "samples": "INSERT, DELETE",
    **dict.fromkeys(("agents", "attempts", "timeline", "runs", "coordinators"), "INSERT, UPDATE, DELETE"),
}

APPENDING = tuple(
    (table, right) for table, rights in (_APPEND_ONLY | _WRITTEN).items() for right in rights.split(", ")
)


def grants(schema: str, *, application: str, reader: str) -> Iterator[str]:
    """Statements for the owner of the tables in `schema`, which give both roles what they need and no more.

    What the owner alone may: migrate, rebuild, prune, and rewrite the table of texts after an erasure. Raises
    `InvalidRequest` for names that no schema or role can have.
    """
    here, app, look = map(_quoted, (schema, application, reader))
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {here} FROM PUBLIC, {app}, {look};"
    yield f"GRANT USAGE ON SCHEMA {here} TO {app}, {look};"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA {here} TO {app}, {look};"
    for table, rights in {**_APPEND_ONLY, **_WRITTEN}.items():
        yield f"GRANT {rights} ON {here}.{table} TO {app};"


def _quoted(name: str) -> str:
    if (
        not name.isprintable() or not 1 <= len(name.encode(errors="replace")) <= 63
    ):  # PostgreSQL cuts longer ones
        raise InvalidRequest(f"cannot name a role or a schema {name!r}: names have 1 to 63 printable bytes")
    return '"' + name.replace('"', '""') + '"'
