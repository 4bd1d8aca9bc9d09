"""What post-mortems and reports need beside the log: samples, payloads that can be erased, projections and views.

How far the log was pruned is kept there, too. The views `report_…` are a public interface: columns are added to them,
never changed; see `docs/reports.md`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # in the order of its bytes, as in SQLite
REAL: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")

# Rows may go that are not after the last prune, and a prune is of a row that is there, and never the last one.
SQLITE_TRIGGERS = (
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
POSTGRES_TRIGGERS = (
    "DROP TRIGGER events_no_delete ON events",
    """CREATE FUNCTION outlive_event_pruned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF OLD.position > coalesce((SELECT max(position) FROM {here}.pruned), 0)
         THEN RAISE 'this table is append-only' USING ERRCODE = 'restrict_violation'; END IF;
         RETURN OLD; END $$""",
    """CREATE FUNCTION outlive_pruned_next() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF NEW.position <= coalesce((SELECT max(position) FROM {here}.pruned), 0)
             OR NEW.position >= (SELECT max(position) FROM {here}.events)
             OR NOT EXISTS (SELECT 1 FROM {here}.events WHERE position = NEW.position AND hash = NEW.hash
                            AND recorded_at = NEW.recorded_at)
         THEN RAISE 'pruned: not a later row of the log' USING ERRCODE = 'restrict_violation'; END IF;
         RETURN NEW; END $$""",
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
       FOR EACH ROW EXECUTE FUNCTION outlive_event_pruned()""",
    """CREATE TRIGGER pruned_next BEFORE INSERT ON pruned
       FOR EACH ROW EXECUTE FUNCTION outlive_pruned_next()""",
    """CREATE TRIGGER pruned_no_update BEFORE UPDATE ON pruned
       FOR EACH ROW EXECUTE FUNCTION outlive_append_only()""",
    """CREATE TRIGGER pruned_no_delete BEFORE DELETE ON pruned
       FOR EACH ROW EXECUTE FUNCTION outlive_append_only()""",
    """CREATE TRIGGER pruned_no_truncate BEFORE TRUNCATE ON pruned EXECUTE FUNCTION outlive_append_only()""",
)
VIEWS = {
    "report_events": """
        SELECT position, event_id, occurred_at, recorded_at, stream, agent_id, name, attempt, type, state_before,
            state_after, actor, reason, summary, correlation_id, causation_id
        FROM timeline""",
    "report_attempts": """
        SELECT agent_id, attempt, name, home, host, labels, epoch, command,
            requested_at, requested_by, started_at, running_at, ended_at,
            coalesce(ended_at, judged_at) AS over_at,
            CASE WHEN ended_at >= started_at THEN (ended_at - started_at) / 1000000.0 END AS duration_seconds,
            state, outcome, cause, message, exit_kind, exit_code, exit_signal, exit_reason, exit_source, is_recovered,
            fingerprint,
            coalesce((SELECT payloads.error_line FROM payloads WHERE payloads.digest = runs.output_digest), error_line)
                AS error_line,
            stop_cause, stop_actor, stop_reason, user_seconds, system_seconds,
            max_memory_bytes, oom_killed, leftovers, restart_number, restart_delay_seconds, has_given_up
        FROM runs""",
    "report_failures": """
        SELECT agent_id, attempt, name, home, host, labels,
            over_at AS failed_at, outcome, cause, message, exit_kind, exit_code, exit_signal,
            exit_reason, fingerprint, error_line, oom_killed, started_at, duration_seconds, restart_number, has_given_up
        FROM report_attempts WHERE outcome IN ('FAILED', 'LOST')""",
    "report_durations": """
        SELECT agent_id, attempt, name, home, host, labels,
            started_at, ended_at, duration_seconds, outcome, cause, fingerprint
        FROM report_attempts WHERE duration_seconds IS NOT NULL""",
    "report_restarts": """
        SELECT later.agent_id, later.attempt, later.name, later.home, later.host, later.labels, later.requested_at,
            later.requested_by, later.restart_number, later.restart_delay_seconds, later.outcome,
            earlier.outcome AS previous_outcome, earlier.cause AS previous_cause,
            earlier.fingerprint AS previous_fingerprint,
            coalesce(earlier.ended_at, earlier.judged_at) AS previous_over_at
        FROM runs later
        JOIN runs earlier ON earlier.agent_id = later.agent_id AND earlier.attempt = later.attempt - 1""",
    "report_uptime": """
        SELECT agent_id, attempt, name, home, host, labels,
            started_at, ended_at, duration_seconds AS up_seconds,
            CASE WHEN outcome IS NULL AND ended_at IS NULL THEN 1 ELSE 0 END AS is_up, outcome
        FROM report_attempts WHERE started_at IS NOT NULL""",
    "report_resources": """
        SELECT runs.agent_id, runs.attempt, runs.name, runs.home, runs.host, runs.labels, runs.started_at,
            runs.ended_at, runs.outcome, runs.user_seconds, runs.system_seconds, runs.max_memory_bytes,
            coalesce(seen.samples, 0) AS samples, seen.first_sampled_at, seen.last_sampled_at,
            coalesce(seen.cpu_samples, 0) AS cpu_samples, seen.mean_cpu_percent, seen.most_cpu_percent,
            coalesce(seen.memory_samples, 0) AS memory_samples, seen.mean_memory_bytes, seen.most_memory_bytes,
            seen.most_threads, seen.most_processes
        FROM runs LEFT JOIN (
            SELECT agent_id, attempt, count(*) AS samples, min(sampled_at) AS first_sampled_at,
                max(sampled_at) AS last_sampled_at, count(cpu_percent) AS cpu_samples,
                avg(cpu_percent) AS mean_cpu_percent, max(cpu_percent) AS most_cpu_percent,
                count(memory_bytes) AS memory_samples, avg(memory_bytes) AS mean_memory_bytes,
                max(memory_bytes) AS most_memory_bytes, max(threads) AS most_threads, max(processes) AS most_processes
            FROM samples GROUP BY agent_id, attempt
        ) seen ON seen.agent_id = runs.agent_id AND seen.attempt = runs.attempt""",
    "report_recoveries": """
        SELECT home, epoch, host, actor, pid, version, started_at, last_seen_at, stopped_at,
            CASE WHEN stopped_at IS NOT NULL THEN 'stopped' WHEN next_epoch IS NULL THEN 'last' ELSE 'vanished' END
                AS left_as,
            CASE WHEN started_at >= previous_left_at THEN (started_at - previous_left_at) / 1000000.0 END
                AS down_seconds,
            agents_left, events, recoveries, reattached, ended, lost, never_started, resumed_stops, recovery_seconds
        FROM (
            SELECT coordinators.*, lead(epoch) OVER (PARTITION BY home ORDER BY epoch) AS next_epoch,
                lag(coalesce(stopped_at, last_seen_at)) OVER (PARTITION BY home ORDER BY epoch) AS previous_left_at
            FROM coordinators
        ) known""",
}


def upgrade() -> None:
    """Create everything."""
    _samples()
    _payloads()
    _pruned()
    _timeline()
    _runs()
    _coordinators()
    _views()


def _samples() -> None:
    op.create_table(
        "samples",
        sa.Column("agent_id", TEXT, primary_key=True),
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
        sa.Column("digest", TEXT, primary_key=True),
        sa.Column("agent_id", TEXT, nullable=False),
        sa.Column("recorded_at", BIG, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("content", TEXT),
        sa.Column("error_line", TEXT),
        sa.Column("erased_at", BIG),
        sa.Column("erased_by", TEXT),
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
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for statement in SQLITE_TRIGGERS:
            op.execute(statement)
    else:
        here = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
        for statement in POSTGRES_TRIGGERS:
            connection.exec_driver_sql(statement.replace("{here}", here))


def _timeline() -> None:
    op.create_table(
        "timeline",
        sa.Column("position", BIG, primary_key=True, autoincrement=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("occurred_at", BIG, nullable=False),
        sa.Column("recorded_at", BIG, nullable=False),
        sa.Column("stream", TEXT, nullable=False),
        sa.Column("agent_id", TEXT),
        sa.Column("name", TEXT),
        sa.Column("attempt", BIG),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("state_before", TEXT),
        sa.Column("state_after", TEXT),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("reason", TEXT),
        sa.Column("summary", TEXT, nullable=False),
        sa.Column("correlation_id", TEXT, nullable=False),
        sa.Column("causation_id", TEXT),
        sqlite_strict=True,
    )
    op.create_index("timeline_agent_id", "timeline", ["agent_id", "position"])
    op.create_index("timeline_correlation_id", "timeline", ["correlation_id"])
    op.create_index("timeline_causation_id", "timeline", ["causation_id"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("agent_id", TEXT, primary_key=True),
        sa.Column("attempt", BIG, primary_key=True, autoincrement=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("home", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("command", TEXT, nullable=False),
        sa.Column("requested_at", BIG, nullable=False),
        sa.Column("requested_by", TEXT, nullable=False),
        sa.Column("started_at", BIG),
        sa.Column("running_at", BIG),
        sa.Column("ended_at", BIG),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("outcome", TEXT),
        sa.Column("judged_at", BIG),
        sa.Column("cause", TEXT),
        sa.Column("message", TEXT),
        sa.Column("exit_kind", TEXT),
        sa.Column("exit_code", sa.Integer),
        sa.Column("exit_signal", sa.Integer),
        sa.Column("exit_reason", TEXT),
        sa.Column("exit_source", TEXT),
        sa.Column("is_recovered", sa.Integer),
        sa.Column("fingerprint", TEXT),
        sa.Column("error_line", TEXT),
        sa.Column("output_digest", TEXT),
        sa.Column("stop_cause", TEXT),
        sa.Column("stop_actor", TEXT),
        sa.Column("stop_reason", TEXT),
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
        sa.Column("home", TEXT, primary_key=True),
        sa.Column("epoch", BIG, primary_key=True, autoincrement=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("pid", BIG),
        sa.Column("boot_id", TEXT),
        sa.Column("version", TEXT),
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


def _views() -> None:
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query.strip()}")
