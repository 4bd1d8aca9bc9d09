"""The rows that a listing of agents needs: one for each agent, one for each attempt. Times in microseconds, UTC."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text, text

from eventstore.tables import BIG, metadata


def _facts() -> list[Column[object]]:
    """What is known of an attempt's process; in `agents`, of the latest attempt's."""
    return [
        Column("pid", BIG),
        Column("start_ticks", BIG),
        Column("shim_pid", BIG),
        Column("boot_id", Text, nullable=False),
        Column("directory", Text, nullable=False),
        Column("requested_at", BIG, nullable=False),
        Column("started_at", BIG),
        Column("running_at", BIG),
        Column("ended_at", BIG),
        Column("exit_kind", Text),
        Column("exit_code", Integer),
        Column("exit_signal", Integer),
        Column("exit_reason", Text),
        Column("outcome", Text),
        Column("cause", Text),
        Column("message", Text),
        Column("health", Text, nullable=False),
        Column("home", Text, nullable=False),
        Column("host", Text, nullable=False),
        Column("version", BIG, nullable=False),
        Column("position", BIG, nullable=False),
    ]


agents = Table(
    "agents",
    metadata,
    Column("agent_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("is_final", Integer, nullable=False),
    Column("attempt", BIG, nullable=False),
    Column("since_at", BIG, nullable=False),
    Column("spawned_at", BIG, nullable=False),
    Column("due_at", BIG),
    Column("labels", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("cwd", Text),
    Column("restarts_used", Integer, nullable=False),
    Column("state_json", Text, nullable=False),
    *_facts(),
    sqlite_strict=True,
)
# The judge of "this name is in use".
Index(
    "agents_live_name",
    agents.c.home,
    agents.c.name,
    unique=True,
    sqlite_where=text("is_final = 0"),
    postgresql_where=text("is_final = 0"),
)
Index("agents_name", agents.c.name)
Index("agents_state", agents.c.state)

attempts = Table(
    "attempts",
    metadata,
    Column("agent_id", Text, primary_key=True),
    Column("attempt", BIG, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    *_facts(),
    sqlite_strict=True,
)
