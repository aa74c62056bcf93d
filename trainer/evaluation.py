"""Loss, accuracy and predicted classes of a model over one split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from trainer.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from trainer.input_pipeline import Batch

EVALUATION_BATCH = 1000
"""Images per forward pass of an evaluation; one number everywhere, so that a reported loss is the stored one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A model on one split."""

    loss: float
    """Mean cross-entropy in nats, without label smoothing."""
    accuracy: float
    """A fraction."""
    predictions: np.ndarray
    """(N,) uint8 or uint16: the class of the highest logit, in the order of the split."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context under which a forward pass of that precision runs."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    precision: str,
    on_batch: Callable[[int], None] = lambda images: None,
    whole_batches: bool = False,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Evaluate `model` on every batch; reads the device once, at the end. Leaves the model in training mode if it was.

    `on_batch` is told the number of images of each batch, for a progress bar. With `whole_batches` a short batch is
    filled up by blank images, for a model that was compiled for `EVALUATION_BATCH` of them. Where several ranks have a
    share of the batches each, all of them get the evaluation of the whole.
    """
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    predicted = []
    with autocast(device, precision):
        for images, labels in batches:
            blank = EVALUATION_BATCH - len(images) if whole_batches else 0
            padded = F.pad(images, (0, 0, 0, 0, 0, 0, 0, blank)) if blank else images
            logits = model(padded)[: len(images)].float()
            loss += F.cross_entropy(logits, labels, reduction="sum").double()
            classes = logits.argmax(dim=1)
            correct += (classes == labels).sum()
            predicted.append(classes)
            on_batch(len(labels))
    model.train(was_training)
    ranks.sum_(loss, correct)
    predictions = ranks.joined(torch.cat(predicted)).cpu().numpy()
    total = len(predictions)
    return Evaluation(
        loss=loss.item() / total,
        accuracy=correct.item() / total,
        predictions=predictions.astype(np.uint8 if predictions.max(initial=0) < 256 else np.uint16),
    )
