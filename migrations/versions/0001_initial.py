"""The log, its epochs and checkpoints of projections, and the current agents and attempts.

The log only grows. On SQLite, `INSERT OR REPLACE` deletes the old row without asking a DELETE trigger unless
recursive_triggers is on, so the BEFORE INSERT trigger refuses whatever is not the next row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # in the order of its bytes, as in SQLite

SQLITE_TRIGGERS = (
    """CREATE TRIGGER events_no_update BEFORE UPDATE ON events
       BEGIN SELECT RAISE(ABORT, 'events is append-only'); END""",
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
       BEGIN SELECT RAISE(ABORT, 'events is append-only'); END""",
    """CREATE TRIGGER events_next BEFORE INSERT ON events
       WHEN NEW.position IS NOT coalesce((SELECT max(position) FROM events), 0) + 1
         OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version >= NEW.version)
         OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)
       BEGIN SELECT RAISE(ABORT, 'events: position, version or event_id is not next'); END""",
    """CREATE TRIGGER epochs_forward BEFORE UPDATE ON epochs
       WHEN NEW.home IS NOT OLD.home OR NEW.epoch <= OLD.epoch
       BEGIN SELECT RAISE(ABORT, 'epochs only move forward'); END""",
    """CREATE TRIGGER epochs_no_delete BEFORE DELETE ON epochs
       BEGIN SELECT RAISE(ABORT, 'epochs only move forward'); END""",
    """CREATE TRIGGER epochs_no_replace BEFORE INSERT ON epochs
       WHEN EXISTS (SELECT 1 FROM epochs WHERE home = NEW.home)
       BEGIN SELECT RAISE(ABORT, 'epochs only move forward'); END""",
)

# `{here}` is the schema: a temporary table of the same name must not be asked instead.
POSTGRES_TRIGGERS = (
    """ALTER TABLE events ADD COLUMN data_json jsonb GENERATED ALWAYS AS (data::jsonb) STORED""",
    """CREATE FUNCTION outlive_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         RAISE 'this table is append-only' USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE FUNCTION outlive_event_next() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF NEW.position <> coalesce((SELECT max(position) FROM {here}.events), 0) + 1
             OR EXISTS (SELECT 1 FROM {here}.events WHERE stream = NEW.stream AND version >= NEW.version)
         THEN RAISE 'events: position or version is not next' USING ERRCODE = 'restrict_violation'; END IF;
         RETURN NEW; END $$""",
    """CREATE FUNCTION outlive_epoch_forward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF NEW.home IS DISTINCT FROM OLD.home OR NEW.epoch <= OLD.epoch
         THEN RAISE 'epochs only move forward' USING ERRCODE = 'restrict_violation'; END IF;
         RETURN NEW; END $$""",
    """CREATE TRIGGER events_no_update BEFORE UPDATE ON events
       FOR EACH ROW EXECUTE FUNCTION outlive_append_only()""",
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
       FOR EACH ROW EXECUTE FUNCTION outlive_append_only()""",
    """CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events EXECUTE FUNCTION outlive_append_only()""",
    """CREATE TRIGGER events_next BEFORE INSERT ON events
       FOR EACH ROW EXECUTE FUNCTION outlive_event_next()""",
    """CREATE TRIGGER epochs_forward BEFORE UPDATE ON epochs
       FOR EACH ROW EXECUTE FUNCTION outlive_epoch_forward()""",
    """CREATE TRIGGER epochs_no_delete BEFORE DELETE ON epochs
       FOR EACH ROW EXECUTE FUNCTION outlive_append_only()""",
    """CREATE TRIGGER epochs_no_truncate BEFORE TRUNCATE ON epochs EXECUTE FUNCTION outlive_append_only()""",
    # What reports ask of labels, which are text; SQLite has it.
    """CREATE FUNCTION json_each(labels text) RETURNS TABLE (key text, value text) LANGUAGE sql IMMUTABLE
       AS $$ SELECT * FROM json_each_text(labels::json) $$""",
)


def upgrade() -> None:
    """Create everything."""
    _log()
    _agents()
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for statement in SQLITE_TRIGGERS:
            op.execute(statement)
    else:
        here = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
        for statement in POSTGRES_TRIGGERS:
            connection.exec_driver_sql(statement.replace("{here}", here))


def _log() -> None:
    op.create_table(
        "events",
        sa.Column("position", BIG, primary_key=True, autoincrement=False),
        sa.Column("event_id", TEXT, nullable=False, unique=True),
        sa.Column("stream", TEXT, nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("attempt", BIG),
        sa.Column("home", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("occurred_at", BIG, nullable=False),
        sa.Column("recorded_at", BIG, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("correlation_id", TEXT, nullable=False),
        sa.Column("causation_id", TEXT),
        sa.Column("data", TEXT, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("stream", "version", name="events_stream_version"),
        sa.CheckConstraint("position >= 1", name="events_position"),
        sa.CheckConstraint("version >= 1", name="events_version"),
        sa.CheckConstraint("length(event_id) = 36", name="events_event_id"),
        sa.CheckConstraint("length(stream) BETWEEN 1 AND 200", name="events_stream"),
        sa.CheckConstraint("schema_version >= 1", name="events_schema_version"),
        sa.CheckConstraint("attempt >= 1", name="events_attempt"),
        sa.CheckConstraint(
            "epoch >= 0 AND occurred_at >= 0 AND recorded_at >= 0", name="events_not_negative"
        ),
        sa.CheckConstraint("length(previous_hash) = 32 AND length(hash) = 32", name="events_hashes"),
        sqlite_strict=True,
    )
    op.create_index("events_type_position", "events", ["type", "position"])
    op.create_index("events_recorded_at", "events", ["recorded_at"])
    op.create_table(
        "epochs",
        sa.Column("home", TEXT, primary_key=True),
        sa.Column("epoch", BIG, nullable=False),
        sa.CheckConstraint("epoch >= 1", name="epochs_epoch"),
        sqlite_strict=True,
    )
    op.create_table(
        "projections",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("position", BIG, nullable=False),
        sqlite_strict=True,
    )


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("agent_id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("is_final", sa.Integer, nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("since_at", BIG, nullable=False),
        sa.Column("spawned_at", BIG, nullable=False),
        sa.Column("due_at", BIG),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("command", TEXT, nullable=False),
        sa.Column("cwd", TEXT),
        sa.Column("restarts_used", sa.Integer, nullable=False),
        sa.Column("state_json", TEXT, nullable=False),
        *_facts(),
        sqlite_strict=True,
    )
    op.execute("CREATE UNIQUE INDEX agents_live_name ON agents (home, name) WHERE is_final = 0")
    op.create_index("agents_name", "agents", ["name"])
    op.create_index("agents_state", "agents", ["state"])
    op.create_table(
        "attempts",
        sa.Column("agent_id", TEXT, primary_key=True),
        sa.Column("attempt", BIG, primary_key=True, autoincrement=False),
        sa.Column("state", TEXT, nullable=False),
        *_facts(),
        sqlite_strict=True,
    )


def _facts() -> list[sa.Column[object]]:
    return [
        sa.Column("pid", BIG),
        sa.Column("start_ticks", BIG),
        sa.Column("shim_pid", BIG),
        sa.Column("boot_id", TEXT, nullable=False),
        sa.Column("directory", TEXT, nullable=False),
        sa.Column("requested_at", BIG, nullable=False),
        sa.Column("started_at", BIG),
        sa.Column("running_at", BIG),
        sa.Column("ended_at", BIG),
        sa.Column("exit_kind", TEXT),
        sa.Column("exit_code", sa.Integer),
        sa.Column("exit_signal", sa.Integer),
        sa.Column("exit_reason", TEXT),
        sa.Column("outcome", TEXT),
        sa.Column("cause", TEXT),
        sa.Column("message", TEXT),
        sa.Column("health", TEXT, nullable=False),
        sa.Column("home", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("position", BIG, nullable=False),
    ]
