"""The tables of the log, as SQLAlchemy Core sees them. Migrations make databases; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# STRICT tables of SQLite know INTEGER (64 bits), not BIGINT.
BIG = BigInteger().with_variant(Integer, "sqlite")
TEXT = Text().with_variant(Text(collation="C"), "postgresql")  # in the order of its bytes, as in SQLite
FLOAT: Double[float] = Double().with_variant(REAL, "sqlite")

events = Table(
    "events",
    metadata,
    Column("position", BIG, primary_key=True, autoincrement=False),
    Column("event_id", TEXT, nullable=False, unique=True),
    Column("stream", TEXT, nullable=False),
    Column("version", BIG, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("attempt", BIG),
    Column("home", TEXT, nullable=False),
    Column("host", TEXT, nullable=False),
    Column("epoch", BIG, nullable=False),
    Column("occurred_at", BIG, nullable=False),
    Column("recorded_at", BIG, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("correlation_id", TEXT, nullable=False),
    Column("causation_id", TEXT),
    Column("data", TEXT, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("stream", "version", name="events_stream_version"),
    CheckConstraint("position >= 1", name="events_position"),
    CheckConstraint("version >= 1", name="events_version"),
    CheckConstraint("length(event_id) = 36", name="events_event_id"),
    CheckConstraint("length(stream) BETWEEN 1 AND 200", name="events_stream"),
    CheckConstraint("schema_version >= 1", name="events_schema_version"),
    CheckConstraint("attempt >= 1", name="events_attempt"),
    CheckConstraint("epoch >= 0 AND occurred_at >= 0 AND recorded_at >= 0", name="events_not_negative"),
    CheckConstraint("length(previous_hash) = 32 AND length(hash) = 32", name="events_hashes"),
    sqlite_strict=True,
)
Index("events_type_position", events.c.type, events.c.position)
Index("events_recorded_at", events.c.recorded_at)

epochs = Table(
    "epochs",
    metadata,
    Column("home", TEXT, primary_key=True),
    Column("epoch", BIG, nullable=False),
    CheckConstraint("epoch >= 1", name="epochs_epoch"),
    sqlite_strict=True,
)

projections = Table(
    "projections",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("position", BIG, nullable=False),
    sqlite_strict=True,
)

# What living processes used, a row a look; not part of the log, kept for a bounded time.
samples = Table(
    "samples",
    metadata,
    Column("agent_id", TEXT, primary_key=True),
    Column("attempt", BIG, primary_key=True, autoincrement=False),
    Column("sampled_at", BIG, primary_key=True, autoincrement=False),
    Column("cpu_percent", FLOAT),
    Column("memory_bytes", BIG),
    Column("threads", BIG),
    Column("processes", BIG),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
Index("samples_sampled_at", samples.c.sampled_at)

# Texts that an event names by their digest alone, so that they can be erased and the chain stays whole.
payloads = Table(
    "payloads",
    metadata,
    Column("digest", TEXT, primary_key=True),
    Column("agent_id", TEXT, nullable=False),
    Column("recorded_at", BIG, nullable=False),
    Column("salt", LargeBinary),
    Column("content", TEXT),
    Column("error_line", TEXT),
    Column("erased_at", BIG),
    Column("erased_by", TEXT),
    sqlite_strict=True,
)
Index("payloads_agent_id", payloads.c.agent_id)

# How far the log was pruned, and the row that was the last to go; each is said by a LOG_PRUNED event, too.
pruned = Table(
    "pruned",
    metadata,
    Column("position", BIG, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("recorded_at", BIG, nullable=False),
    sqlite_strict=True,
)
