"""What post-mortems and reports need beside the log: samples of resource use, and payloads that can be erased."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
REAL: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")


def upgrade() -> None:
    """Create everything."""
    _samples()
    _payloads()


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
