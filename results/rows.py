"""The rows of the store as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRow:
    """One epoch of a trial. Losses in nats, accuracy a fraction, `lr` that of the epoch's last step."""

    epoch: int
    train_loss: float | None
    val_loss: float | None
    val_acc: float | None
    lr: float
    train_seconds: float
    val_seconds: float
    images_per_second: float
    extra: dict[str, Any] = field(default_factory=dict)
    """What some epochs have: `compiled`, and `trees` as in `trainer/diagnostics.py`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRow:
    """What a scheduler decided of a trial at an epoch: `continue` or `stop`, by which value and cut-off."""

    trial_id: str
    epoch: int
    scheduler: str
    rung: int | None
    value: float | None
    cutoff: float | None
    decision: str
    created: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRow:
    """One search; `settings` is all that it was run with, `heartbeat` when its driver was last alive."""

    id: str
    experiment: str
    question: str
    created: datetime
    status: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    notes: str
    tags: list[str]
    heartbeat: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRow:
    """What was asked of a running search from another terminal: `stop`, `pause` or `resume`, of a trial or (none) of all."""

    id: int
    search_id: str
    trial_id: str | None
    request: str
    created: datetime
    handled: datetime | None


UNKNOWN_SEED = -1
"""The seed of an imported trial whose file does not say it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    """One trial; metrics are those of its last epoch, accuracies fractions, `gpu_seconds` 0 on a CPU."""

    id: str
    search_id: str
    number: int
    variant: str
    seed: int
    config: dict[str, Any]
    status: str
    cause: str | None
    epochs: int
    train_loss: float | None
    val_loss: float | None
    val_acc: float | None
    best_val_acc: float | None
    best_epoch: int | None
    test_acc: float | None
    test_loss: float | None
    parameters: int | None
    neurons_used: int | None
    macs: int | None
    macs_conditional: int | None
    latency_seconds: float | None
    wall_seconds: float | None
    gpu_seconds: float | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    provenance: dict[str, Any]
