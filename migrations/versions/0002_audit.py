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
