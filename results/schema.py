"""The tables of the store, for SQLite and any other database that SQLAlchemy reaches."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 3
"""Raised with every change of these tables, and then `results/migrations.py` has the step that leads to it."""
metadata = MetaData()

meta = Table("arbor_meta", metadata, Column("key", String(40), primary_key=True), Column("value", Text, nullable=False))

searches = Table(
    "searches",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("experiment", String(180), nullable=False),
    Column("question", Text, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("status", String(20), nullable=False),
    Column("settings", JSON, nullable=False),
    Column("provenance", JSON, nullable=False),
    Column("notes", Text, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("heartbeat", DateTime(timezone=True)),
)

trials = Table(
    "trials",
    metadata,
    Column("id", String(220), primary_key=True),
    Column("search_id", ForeignKey("searches.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("variant", String(20), nullable=False, index=True),
    Column("seed", BigInteger, nullable=False),
    Column("config", JSON, nullable=False),
    Column("status", String(20), nullable=False),
    Column("cause", Text),
    Column("epochs", Integer, nullable=False, default=0),
    Column("train_loss", Float),
    Column("val_loss", Float),
    Column("val_acc", Float),
    Column("best_val_acc", Float),
    Column("best_epoch", Integer),
    Column("test_acc", Float),
    Column("test_loss", Float),
    Column("parameters", BigInteger),
    Column("neurons_used", BigInteger),
    Column("macs", BigInteger),
    Column("macs_conditional", BigInteger),
    Column("latency_seconds", Float),
    Column("wall_seconds", Float),
    Column("gpu_seconds", Float),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("started", DateTime(timezone=True)),
    Column("ended", DateTime(timezone=True)),
    Column("provenance", JSON, nullable=False),
    UniqueConstraint("search_id", "number"),
)

epochs = Table(
    "epochs",
    metadata,
    Column("trial_id", ForeignKey("trials.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("train_loss", Float),
    Column("val_loss", Float),
    Column("val_acc", Float),
    Column("lr", Float),
    Column("train_seconds", Float),
    Column("val_seconds", Float),
    Column("images_per_second", Float),
    Column("extra", JSON, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    # order of commit, from which a scheduler's state is rebuilt
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("trial_id", ForeignKey("trials.id"), nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("scheduler", String(40), nullable=False),
    Column("rung", Integer),
    Column("value", Float),
    Column("cutoff", Float),
    Column("decision", String(20), nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    UniqueConstraint("trial_id", "epoch", "scheduler"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("search_id", ForeignKey("searches.id"), nullable=False, index=True),
    Column("trial_id", ForeignKey("trials.id")),
    Column("request", String(20), nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("handled", DateTime(timezone=True)),
)

measurements = Table(
    "measurements",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("values", JSON, nullable=False),
)
