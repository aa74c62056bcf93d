"""What is timed: the flat dictionary of a trial, and data in the proportions of the predecessor's epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from arch_space.initialise import initialise
from trainer.config import Flat, TrialConfig
from trainer.dataset import Dataset, Split
from trainer.engine import build_engine
from trainer.resolve import cached_dataset, resolve

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

SMALL: Flat = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128}
"""On a CPU: small enough to see that a benchmark works."""

LARGE: Flat = {"batch_size": 1024, "augment": "crop_pad_alternate"}
"""What is timed: the batch at which the card is full, as in all that the log has."""


def trial_config(changes: Flat, *, epochs: int, recipe: Flat = LARGE) -> TrialConfig:
    """vit_tiny on CIFAR-10 as `experiments/fast.py` trains it but for `recipe`, on a GPU; `SMALL` on a CPU."""
    from experiments.fast import fast

    on_gpu = torch.cuda.is_available()
    base = {**fast().base, "ffn": "mlp", **recipe, **({} if on_gpu else SMALL), **changes}
    base["epochs"] = max(epochs, int(base["epochs"] or 0))
    return resolve(base, on_gpu=on_gpu)


def full_dataset(name: str) -> Dataset:
    """Training and validation images as one training split, and the test images as validation: 50,000 and 10,000."""
    data = cached_dataset(name)

    def joined(one: Split, other: Split) -> Split:
        fields = ("images", "labels", "source_index")
        return Split(**{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in fields})

    return replace(data, train=joined(data.train, data.val), val=data.test)


def initialised_engine(config: TrialConfig, device: torch.device) -> DeepSpeedEngine:
    """The DeepSpeed engine with which a trial starts."""
    model = config.model.build()
    initialise(model, config.seed)
    return build_engine(model, config, device)
