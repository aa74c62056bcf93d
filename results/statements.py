"""What the store's transactions are made of: looks at rows that may be there, values as databases keep them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from results import schema
from results.rows import EpochRow


def is_there(connection: Connection, table: sa.Table, **values: Any) -> bool:
    """Whether a row with these values is there: after a connection that broke in its commit, only a look can tell."""
    wanted = [table.c[name] == value for name, value in values.items()]
    return connection.scalar(sa.select(sa.literal(1)).select_from(table).where(*wanted).limit(1)) is not None


def landed(connection: Connection, trial_id: str, epoch: EpochRow | None, decision: Mapping[str, Any] | None) -> bool:
    """Whether a report is there already, to the last value. One without epoch and decision is simply written again."""
    if decision is not None:
        return is_there(connection, schema.decisions, **decision)
    if epoch is None:
        return False
    values = {name: value for name, value in asdict(epoch).items() if name != "extra" and value is not None}
    return is_there(connection, schema.epochs, trial_id=trial_id, **values)


def last_metrics(connection: Connection, trial_id: str, epoch: EpochRow) -> dict[str, Any]:
    """The trial's own columns after this epoch: its metrics, and the best epoch so far (the first, where equal)."""
    table = schema.trials
    best = connection.scalar(sa.select(table.c.best_val_acc).where(table.c.id == trial_id))
    columns: dict[str, Any] = {
        "epochs": epoch.epoch,
        "train_loss": epoch.train_loss,
        "val_loss": epoch.val_loss,
        "val_acc": epoch.val_acc,
    }
    if epoch.val_acc is not None and (best is None or epoch.val_acc > best):
        columns.update(best_val_acc=epoch.val_acc, best_epoch=epoch.epoch)
    return columns


def finite(epoch: EpochRow) -> EpochRow:
    """NaN and infinity become NULL, and `extra` says what they were: databases differ in what they make of them."""
    values = asdict(epoch)
    lost = {
        name: repr(values[name])
        for name in ("train_loss", "val_loss", "val_acc")
        if values[name] is not None and not math.isfinite(values[name])
    }
    if not lost:
        return epoch
    values.update(dict.fromkeys(lost, None), extra={**epoch.extra, "not_finite": lost})
    return EpochRow(**values)


def aware(mapping: Any) -> dict[str, Any]:
    """SQLite forgets time zones: what we wrote in UTC comes back as UTC."""
    return {
        key: value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
        for key, value in mapping.items()
    }
