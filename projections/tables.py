"""The tables of the projections. Times in microseconds, UTC.

`agents` and `attempts` are written with the log; `timeline`, `runs` and `coordinators` follow it at a distance.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text, text

from eventstore.tables import BIG, FLOAT, metadata


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

# One row an event, in words.
timeline = Table(
    "timeline",
    metadata,
    Column("position", BIG, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("occurred_at", BIG, nullable=False),
    Column("recorded_at", BIG, nullable=False),
    Column("stream", Text, nullable=False),
    Column("agent_id", Text),
    Column("name", Text),
    Column("attempt", BIG),
    Column("type", Text, nullable=False),
    Column("state_before", Text),
    Column("state_after", Text),
    Column("actor", Text, nullable=False),
    Column("reason", Text),
    Column("summary", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text),
    sqlite_strict=True,
)
Index("timeline_agent_id", timeline.c.agent_id, timeline.c.position)
Index("timeline_correlation_id", timeline.c.correlation_id)
Index("timeline_causation_id", timeline.c.causation_id)

# One row an attempt, with all that a report asks of it.
runs = Table(
    "runs",
    metadata,
    Column("agent_id", Text, primary_key=True),
    Column("attempt", BIG, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("home", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("epoch", BIG, nullable=False),
    Column("labels", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("requested_at", BIG, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("started_at", BIG),
    Column("running_at", BIG),
    Column("ended_at", BIG),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("judged_at", BIG),
    Column("cause", Text),
    Column("message", Text),
    Column("exit_kind", Text),
    Column("exit_code", Integer),
    Column("exit_signal", Integer),
    Column("exit_reason", Text),
    Column("exit_source", Text),
    Column("is_recovered", Integer),
    Column("fingerprint", Text),
    Column("error_line", Text),
    Column("output_digest", Text),
    Column("stop_cause", Text),
    Column("stop_actor", Text),
    Column("stop_reason", Text),
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
    Column("home", Text, primary_key=True),
    Column("epoch", BIG, primary_key=True, autoincrement=False),
    Column("host", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("pid", BIG),
    Column("boot_id", Text),
    Column("version", Text),
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
