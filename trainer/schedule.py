"""Learning-rate schedules as factors of the highest rate, and the one place where epochs become optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainer.config import TrialConfig


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer steps in one pass over `images`; the remainder of an epoch is left out (another one every epoch)."""
    return images // batch_size


def factor_by_step(config: TrialConfig, steps_an_epoch: int) -> Callable[[int], float]:
    """A function from the optimizer step (from 0) to the factor of `config.lr` that this step uses.

    The rate changes once an optimizer step, not once an epoch or micro-batch, so all lengths here are in steps.
    """
    if config.schedule == "onecycle":
        return lambda step: onecycle(step, config.cycle_steps)
    warmup = round(config.warmup_epochs * steps_an_epoch)
    total = config.epochs * steps_an_epoch
    if config.schedule == "linear":
        return lambda step: warmup_linear(step, warmup, total)
    return lambda step: warmup_cosine(step, warmup, total)


def warmup_linear(step: int, warmup: int, total: int) -> float:
    """Linear from 1/warmup to 1, then linear to 0 at `total` (decay to zero: arXiv 2502.15938)."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Linear from 1/warmup to 1, then half a cosine that would reach 0 at `total` (SGDR, arXiv 1608.03983)."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def onecycle(step: int, total: int, *, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000) -> float:
    """The 1cycle policy (arXiv 1708.07120) in the form and with the defaults of torch's OneCycleLR, momentum fixed.

    Cosine from `start` to 1 over the first `rise` of the steps, cosine down to `end`; stays there after `total`.
    """
    peak = rise * total - 1
    if step <= peak:
        return _cosine_between(start, 1.0, step / peak)
    return _cosine_between(1.0, end, min(1.0, (step - peak) / (total - 1 - peak)))


def _cosine_between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
