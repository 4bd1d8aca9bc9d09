"""What post-mortems and reports need beside the log: samples, payloads that can be erased, how far it was pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
REAL: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")

# Rows may go that are not after the last prune, and a prune is of a row that is there, and never the last one.
PRUNING_TRIGGERS = (
    "DROP TRIGGER events_no_delete",
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
       WHEN OLD.position > coalesce((SELECT max(position) FROM pruned), 0)
       BEGIN SELECT RAISE(ABORT, 'events is append-only'); END""",
    """CREATE TRIGGER pruned_next BEFORE INSERT ON pruned
       WHEN NEW.position IS NULL
         OR NEW.position <= coalesce((SELECT max(position) FROM pruned), 0)
         OR NEW.position >= (SELECT max(position) FROM events)
         OR NOT EXISTS (SELECT 1 FROM events WHERE position = NEW.position AND hash = NEW.hash
                        AND recorded_at = NEW.recorded_at)
       BEGIN SELECT RAISE(ABORT, 'pruned: not a later row of the log'); END""",
    """CREATE TRIGGER pruned_no_update BEFORE UPDATE ON pruned
       BEGIN SELECT RAISE(ABORT, 'pruned is append-only'); END""",
    """CREATE TRIGGER pruned_no_delete BEFORE DELETE ON pruned
       BEGIN SELECT RAISE(ABORT, 'pruned is append-only'); END""",
)


def upgrade() -> None:
    """Create everything."""
    _samples()
    _payloads()
    _pruned()
    _timeline()
    _runs()
    _coordinators()


def _samples() -> None:
    op.create_table(
        "samples",
        sa.Column("agent_id", sa.Text, primary_key=True),
        sa.Column("attempt", BIG, primary_key=True, autoincrement=False),
        sa.Column("sampled_at", BIG, primary_key=True, autoincrement=False),
        sa.Column("cpu_percent", REAL),
        sa.Column("memory_bytes", BIG),
        sa.Column("threads", BIG),
        sa.Column("processes", BIG),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("samples_sampled_at", "samples", ["sampled_at"])


def _payloads() -> None:
    op.create_table(
        "payloads",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("recorded_at", BIG, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("content", sa.Text),
        sa.Column("erased_at", BIG),
        sa.Column("erased_by", sa.Text),
        sqlite_strict=True,
    )
    op.create_index("payloads_agent_id", "payloads", ["agent_id"])


def _pruned() -> None:
    op.create_table(
        "pruned",
        sa.Column("position", BIG, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", BIG, nullable=False),
        sqlite_strict=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        for statement in PRUNING_TRIGGERS:
            op.execute(statement)


def _timeline() -> None:
    op.create_table(
        "timeline",
        sa.Column("position", BIG, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("occurred_at", BIG, nullable=False),
        sa.Column("recorded_at", BIG, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("attempt", BIG),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("state_before", sa.Text),
        sa.Column("state_after", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("causation_id", sa.Text),
        sqlite_strict=True,
    )
    op.create_index("timeline_agent_id", "timeline", ["agent_id", "position"])
    op.create_index("timeline_correlation_id", "timeline", ["correlation_id"])
    op.create_index("timeline_causation_id", "timeline", ["causation_id"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("agent_id", sa.Text, primary_key=True),
        sa.Column("attempt", BIG, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("home", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("requested_at", BIG, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("started_at", BIG),
        sa.Column("running_at", BIG),
        sa.Column("ended_at", BIG),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("judged_at", BIG),
        sa.Column("cause", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("exit_kind", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("exit_signal", sa.Integer),
        sa.Column("exit_reason", sa.Text),
        sa.Column("exit_source", sa.Text),
        sa.Column("is_recovered", sa.Integer),
        sa.Column("fingerprint", sa.Text),
        sa.Column("error_line", sa.Text),
        sa.Column("stop_cause", sa.Text),
        sa.Column("stop_actor", sa.Text),
        sa.Column("stop_reason", sa.Text),
        sa.Column("user_seconds", REAL),
        sa.Column("system_seconds", REAL),
        sa.Column("max_memory_bytes", BIG),
        sa.Column("oom_killed", sa.Integer),
        sa.Column("leftovers", BIG),
        sa.Column("restart_number", BIG, nullable=False),
        sa.Column("restart_delay_seconds", REAL),
        sa.Column("next_number", BIG),
        sa.Column("next_delay_seconds", REAL),
        sa.Column("has_given_up", sa.Integer, nullable=False),
        sa.Column("position", BIG, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("runs_requested_at", "runs", ["requested_at"])


def _coordinators() -> None:
    op.create_table(
        "coordinators",
        sa.Column("home", sa.Text, primary_key=True),
        sa.Column("epoch", BIG, primary_key=True, autoincrement=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("pid", BIG),
        sa.Column("boot_id", sa.Text),
        sa.Column("version", sa.Text),
        sa.Column("started_at", BIG, nullable=False),
        sa.Column("last_seen_at", BIG, nullable=False),
        sa.Column("stopped_at", BIG),
        sa.Column("agents_left", BIG),
        sa.Column("events", BIG, nullable=False),
        sa.Column("recoveries", BIG, nullable=False),
        sa.Column("reattached", BIG, nullable=False),
        sa.Column("ended", BIG, nullable=False),
        sa.Column("lost", BIG, nullable=False),
        sa.Column("never_started", BIG, nullable=False),
        sa.Column("resumed_stops", BIG, nullable=False),
        sa.Column("recovery_seconds", REAL, nullable=False),
        sa.Column("position", BIG, nullable=False),
        sqlite_strict=True,
    )
