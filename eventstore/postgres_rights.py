"""What a role lacks that was refused something, and who has it."""

from __future__ import annotations

from typing import NamedTuple

from eventstore.grants import APPENDING

_TABLES = sorted({"alembic_version", "pruned", *(table for table, _ in APPENDING)})
_MAY = "(SELECT bool_and(has_table_privilege(to_regclass(name), needed)) FROM (VALUES {}) AS asked (name, needed))"


def _may(rights: list[tuple[str, str]]) -> str:
    return _MAY.format(", ".join(f"('{table}', '{right}')" for table, right in rights))


QUERY = f"""
    SELECT current_user::text, current_schema()::text,
        (SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass('events')),
        {_may([(table, "SELECT") for table in _TABLES])}, {_may([("events", "INSERT")])}, {_may(list(APPENDING))}"""  # noqa: S608 (names of tables)


class Rights(NamedTuple):
    """The answer to `QUERY`: the `owner` of the log, None where there is none, and what the role may there."""

    role: str
    schema: str | None
    owner: str | None
    reads: bool | None
    appends: bool | None
    has_all: bool | None


def advice(found: Rights) -> str:
    """What to do for a role that was refused something."""
    role, owner = found.role, found.owner
    if owner is None:
        return (
            f"role {role} may not make the log in schema {found.schema}: let one who may run `outlive db upgrade`, and"
            " what `outlive db grants` prints"
        )
    if not found.reads:
        return (
            f"role {role} may not read the log: let its owner, {owner}, run what `outlive db grants` prints"
        )
    if not found.appends:
        return f"role {role} may only read: name one that may append, see `outlive db grants`"
    if not found.has_all:
        return f"role {role} lacks rights: let the owner of the log, {owner}, run what `outlive db grants` prints"
    return f"role {role} may not, but the owner of the log, {owner}: name that role in the URL"
