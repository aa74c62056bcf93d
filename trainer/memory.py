"""A GPU whose memory does not suffice for a trial: how that is told from other errors, and what to try then.

The same batch is cut into more micro-batches. The optimizer's steps stay those of the batch that was asked for, up to
rounding (and dropout's draws, and auxiliary losses that are of a whole micro-batch); so the trial's dictionary, its
identity, keeps the `accumulation` that was asked for, and the row says with which one it was trained (`results.losses`).
"""

from __future__ import annotations

import torch

FINEST = 16
"""How many times finer than asked a batch is cut at most: what does not fit then is a matter of the weights."""
_WORDS = ("out of memory", "ALLOC_FAILED")
"""CUDA's and its libraries' own errors are RuntimeErrors that only their text tells apart."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device's memory is full."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def finer(batch_size: int, asked: int, accumulation: int) -> int | None:
    """Micro-batches to try after `accumulation` were too few: the next number, at least double, that divides the batch.

    `batch_size` is one worker's, where a trial has several: then each micro-batch has as many images for all of them.
    None where there is none up to `FINEST` times those that were asked for.
    """
    most = min(batch_size, FINEST * asked)
    return next((parts for parts in range(2 * accumulation, most + 1) if batch_size % parts == 0), None)
