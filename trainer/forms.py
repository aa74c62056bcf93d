"""What an epoch reports beside the columns that all kinds share: auxiliary losses, accuracy in other execution forms."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from arch_space.execution import executing, reported_executions
from trainer.evaluation import Evaluation
from trainer.step import EngineStep


def mean_auxiliary_loss(step: EngineStep, micro_batches: int) -> dict[str, float]:
    """`auxiliary_loss`, the mean over the epoch's micro-batches, where the model has such losses and they are finite.

    Reads the device.
    """
    mean = step.auxiliary_total.item() / micro_batches if step.has_auxiliary else math.nan
    return {"auxiliary_loss": mean} if math.isfinite(mean) else {}


def accuracy_by_form(model: nn.Module, evaluate: Callable[[], Evaluation]) -> dict[str, float]:
    """`val_acc_<form>`, a fraction, for each execution form that a kind reports beside its default."""
    accuracies = {}
    for form in reported_executions(model):
        with executing(model, form):
            accuracies[f"val_acc_{form}"] = evaluate().accuracy
    return accuracies
