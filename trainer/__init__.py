"""One trial: data by DALI, training by DeepSpeed, checkpoints, evaluation and replay. Knows nothing of Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.cli import DEFAULT_STORAGE

if TYPE_CHECKING:
    from torch import nn


def load_model(trial: str, storage: str = DEFAULT_STORAGE) -> nn.Module:
    """The trained module of a trial, in evaluation mode on the CPU: (B, 3, S, S) normalised images -> (B, classes).

    Args:
        trial: an id such as `quickstart-1.7`, or the path of a checkpoint.
    Raises:
        InputError: no such trial, no checkpoint left of it, or a damaged one.
    """
    from trainer.located import load_trained, locate

    return load_trained(locate(trial, storage)).model
