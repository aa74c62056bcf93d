"""Databases of an older schema, brought up to ours: one step a version, all steps in one transaction.

A step uses alembic's operations (https://alembic.sqlalchemy.org/en/latest/ops.html). It spells its tables out and reads
nothing from `results.schema`, which changes later. To change the schema: edit `results/schema.py`, raise SCHEMA_VERSION,
add a step; a test compares what the steps make with the tables of a new database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection


def _measurements(operations: Operations) -> None:
    """What was timed is kept. Some Arbors made this table without a new version, so it may be there."""
    operations.create_table(
        "measurements",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("values", sa.JSON, nullable=False),
        if_not_exists=True,
    )


def _latency(operations: Operations) -> None:
    """A second objective that is measured; trials of before have none."""
    operations.add_column("trials", sa.Column("latency_seconds", sa.Float))


STEPS: Mapping[int, Callable[[Operations], None]] = {2: _measurements, 3: _latency}
"""By the version that a step leads to."""


def migrate(connection: Connection, found: int, wanted: int) -> None:
    """Walk from one version to a later one, inside the connection's transaction."""
    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, wanted + 1):
        STEPS[version](operations)
