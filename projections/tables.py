"""The tables of the projections. Times in microseconds, UTC.

`agents` and `attempts` are written with the log; `timeline`, `runs` and `coordinators` follow it at a distance.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, text

from eventstore.tables import BIG, FLOAT, TEXT, metadata


def _facts() -> list[Column[object]]:
    """What is known of an attempt's process; in `agents`, of the latest attempt's."""
    return [
        Column("pid", BIG),
        Column("start_ticks", BIG),
        Column("shim_pid", BIG),
        Column("boot_id", TEXT, nullable=False),
        Column("directory", TEXT, nullable=False),
        Column("requested_at", BIG, nullable=False),
        Column("started_at", BIG),
        Column("running_at", BIG),
        Column("ended_at", BIG),
        Column("exit_kind", TEXT),
        Column("exit_code", Integer),
        Column("exit_signal", Integer),
        Column("exit_reason", TEXT),
        Column("outcome", TEXT),
        Column("cause", TEXT),
        Column("message", TEXT),
        Column("health", TEXT, nullable=False),
        Column("home", TEXT, nullable=False),
        Column("host", TEXT, nullable=False),
        Column("version", BIG, nullable=False),
        Column("position", BIG, nullable=False),
    ]


agents = Table(
    "agents",
    metadata,
    Column("agent_id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("is_final", Integer, nullable=False),
    Column("attempt", BIG, nullable=False),
    Column("since_at", BIG, nullable=False),
    Column("spawned_at", BIG, nullable=False),
    Column("due_at", BIG),
    Column("labels", TEXT, nullable=False),
    Column("command", TEXT, nullable=False),
    Column("cwd", TEXT),
    Column("restarts_used", Integer, nullable=False),
    Column("state_json", TEXT, nullable=False),
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
)
Index("agents_name", agents.c.name)
Index("agents_state", agents.c.state)

attempts = Table(
    "attempts",
    metadata,
    Column("agent_id", TEXT, primary_key=True),
    Column("attempt", BIG, primary_key=True, autoincrement=False),
    Column("state", TEXT, nullable=False),
    *_facts(),
    sqlite_strict=True,
)

# One row an event, in words.
timeline = Table(
    "timeline",
    metadata,
    Column("position", BIG, primary_key=True, autoincrement=False),
    Column("event_id", TEXT, nullable=False),
    Column("occurred_at", BIG, nullable=False),
    Column("recorded_at", BIG, nullable=False),
    Column("stream", TEXT, nullable=False),
    Column("agent_id", TEXT),
    Column("name", TEXT),
    Column("attempt", BIG),
    Column("type", TEXT, nullable=False),
    Column("state_before", TEXT),
    Column("state_after", TEXT),
    Column("actor", TEXT, nullable=False),
    Column("reason", TEXT),
    Column("summary", TEXT, nullable=False),
    Column("correlation_id", TEXT, nullable=False),
    Column("causation_id", TEXT),
    sqlite_strict=True,
)
Index("timeline_agent_id", timeline.c.agent_id, timeline.c.position)
Index("timeline_correlation_id", timeline.c.correlation_id)
Index("timeline_causation_id", timeline.c.causation_id)

# One row an attempt, with all that a report asks of it.
runs = Table(
    "runs",
    metadata,
    Column("agent_id", TEXT, primary_key=True),
    Column("attempt", BIG, primary_key=True, autoincrement=False),
    Column("name", TEXT, nullable=False),
    Column("home", TEXT, nullable=False),
    Column("host", TEXT, nullable=False),
    Column("epoch", BIG, nullable=False),
    Column("labels", TEXT, nullable=False),
    Column("command", TEXT, nullable=False),
    Column("requested_at", BIG, nullable=False),
    Column("requested_by", TEXT, nullable=False),
    Column("started_at", BIG),
    Column("running_at", BIG),
    Column("ended_at", BIG),
    Column("state", TEXT, nullable=False),
    Column("outcome", TEXT),
    Column("judged_at", BIG),
    Column("cause", TEXT),
    Column("message", TEXT),
    Column("exit_kind", TEXT),
    Column("exit_code", Integer),
    Column("exit_signal", Integer),
    Column("exit_reason", TEXT),
    Column("exit_source", TEXT),
    Column("is_recovered", Integer),
    Column("fingerprint", TEXT),
    Column("error_line", TEXT),
    Column("output_digest", TEXT),
    Column("stop_cause", TEXT),
    Column("stop_actor", TEXT),
    Column("stop_reason", TEXT),
    Column("user_seconds", FLOAT),
    Column("system_seconds", FLOAT),
    Column("max_memory_bytes", BIG),
    Column("oom_killed", Integer),
    Column("leftovers", BIG),
    Column("restart_number", BIG, nullable=False),
    Column("restart_delay_seconds", FLOAT),
    Column("next_number", BIG),
    Column("next_delay_seconds", FLOAT),
    Column("has_given_up", Integer, nullable=False),
    Column("position", BIG, nullable=False),
    sqlite_strict=True,
)
Index("runs_requested_at", runs.c.requested_at)

# One row a coordinator.
coordinators = Table(
    "coordinators",
    metadata,
    Column("home", TEXT, primary_key=True),
    Column("epoch", BIG, primary_key=True, autoincrement=False),
    Column("host", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("pid", BIG),
    Column("boot_id", TEXT),
    Column("version", TEXT),
    Column("started_at", BIG, nullable=False),
    Column("last_seen_at", BIG, nullable=False),
    Column("stopped_at", BIG),
    Column("agents_left", BIG),
    Column("events", BIG, nullable=False),
    Column("recoveries", BIG, nullable=False),
    Column("reattached", BIG, nullable=False),
    Column("ended", BIG, nullable=False),
    Column("lost", BIG, nullable=False),
    Column("never_started", BIG, nullable=False),
    Column("resumed_stops", BIG, nullable=False),
    Column("recovery_seconds", FLOAT, nullable=False),
    Column("position", BIG, nullable=False),
    sqlite_strict=True,
)
