"""Execution forms and auxiliary losses, as an epoch reports them and an evaluation compares them."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from arch_space.execution import executing, executions_of, reported_executions
from results.errors import InputError
from trainer.compiled import uncompiled
from trainer.evaluation import Evaluation
from trainer.step import EngineStep


def forms_to_compare(model: nn.Module, wanted: str | None) -> tuple[str | None, ...]:
    """The default form, then `wanted` if it is another; (None,) for a model without forms.

    Raises:
        InputError: the model has no form of that name.
    """
    forms = executions_of(model)
    if wanted is not None and wanted not in forms:
        known = f"must be one of {', '.join(forms)}" if forms else "can be chosen only for a kind that has several"
        raise InputError(f"--execution {known}, but got {wanted!r}; leave it out for the form that was trained.")
    default = forms[0] if forms else None
    return (default,) if wanted in (None, default) else (default, wanted)


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
        # eager, also where blocks are compiled: one pass an epoch is worth no compilation of its own
        with executing(model, form), uncompiled(model):
            accuracies[f"val_acc_{form}"] = evaluate().accuracy
    return accuracies
