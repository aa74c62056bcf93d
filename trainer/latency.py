"""How long a model takes for one image on one CPU thread: the cost that a small device would feel."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from arch_space.execution import executing, executions_of
from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from trainer.timing import cpu_threads

FORMS = ("dense", "conditional")
"""The forms that compute the same function; the faster one counts."""
POOL = 16
"""Images that the calls take in turn, so that a tree does not walk one path again and again."""
WARM_UP = 3
LEAST = 10


def latency_seconds(config: ModelConfig, *, seconds: float = 0.2) -> float:
    """Seconds of one forward pass of one image, fp32, one CPU thread, by the model's faster form.

    It is the thread's own CPU time that counts, and of all calls the fastest: trials that train beside it take turns with
    it on the cores, which the clock on the wall would show, and can only add to the rest
    (https://docs.python.org/3/library/timeit.html#timeit.Timer.repeat). Weights are those at the start of training.

    Args:
        seconds: of CPU time for which each form is timed, about.
    """
    model = config.build().eval()
    initialise(model, 0)
    images = itertools.cycle(torch.randn(POOL, 1, 3, config.image_size, config.image_size))
    forms: list[str | None] = [form for form in executions_of(model) if form in FORMS]
    fastest = []
    with torch.inference_mode(), cpu_threads(1):
        for form in forms or [None]:
            with executing(model, form) if form is not None else nullcontext():
                fastest.append(min(_calls(model, images, seconds)))
    return min(fastest)


def _calls(model: nn.Module, images: Iterator[Tensor], seconds: float) -> Iterator[float]:
    """CPU seconds of call after call, after a warm-up."""
    for _ in range(WARM_UP):
        model(next(images))
    end = time.thread_time() + seconds
    done = 0
    while done < LEAST or time.thread_time() < end:
        began = time.thread_time()
        model(next(images))
        yield time.thread_time() - began
        done += 1
