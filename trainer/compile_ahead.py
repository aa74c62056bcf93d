"""`python -m trainer.compile_ahead JSON [VARIANTS...]`: what a trial's first step waits for, and its compiled code, on disk.

`trainer.ahead` starts it. One import of torch serves all: a process is forked for every kernel and every region of the
model, and those alone touch the GPU, as a process that has done so cannot be forked.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from arch_space.cost import built_for_shapes
from arch_space.vit_tiny import HEAD_WIDTH
from trainer.compile_region import make_region
from trainer.compiled import STALE_SECONDS, distinct_regions, repays_making, threads_for
from trainer.dataset import read_header
from trainer.muon import batch_shapes, orthogonalise
from trainer.optimizer import parts_of
from trainer.resolve import discover_variants, resolve

if TYPE_CHECKING:
    from trainer.config import TrialConfig


def jobs_of(config: TrialConfig, training_images: int) -> list[Callable[[], None]]:
    """What to compile for a trial on a GPU, each for a process of its own; the kernels first, which are needed first.

    Args:
        training_images: of its data.
    """
    jobs: list[Callable[[], None]] = []
    model, built = config.model, built_for_shapes(config.model)
    if config.precision == "bf16":
        tokens = (model.image_size // model.patch) ** 2 + 1
        jobs += [partial(attend, tokens, model.heads, backward=backward) for backward in (True, False)]
    if config.optimizer == "muon":
        matrices, _, _ = parts_of(built, config)
        jobs += [partial(multiply, *shape) for shape in batch_shapes(matrices)]
    if repays_making(config, training_images):
        regions = len(distinct_regions(built))
        jobs += [partial(make_one_of, regions, config, region) for region in range(regions)]
    return jobs


def make_one_of(regions: int, config: TrialConfig, region: int) -> None:
    """The code of a region, while as many processes compile as there are regions."""
    os.environ.update(threads_for(regions))
    make_region(config, region)


def attend(tokens: int, heads: int, *, backward: bool) -> None:
    """The kernel of the attention, one way, called on one image."""
    from arch_space import locality_kernel

    packed = torch.zeros(1, tokens, 3 * heads * HEAD_WIDTH, dtype=torch.bfloat16, device="cuda")
    log_temperature = torch.zeros(1, device="cuda")
    if not locality_kernel.serves(packed):
        return
    if backward:
        mixed = torch.zeros(1, tokens, heads * HEAD_WIDTH, dtype=torch.bfloat16, device="cuda")
        torch.ops.arbor.locality_attention_backward(packed, log_temperature, mixed, heads)
    else:
        locality_kernel.locality_attention(packed, log_temperature, heads)


def multiply(count: int, rows: int, columns: int) -> None:
    """The products of one of Muon's batches, called on it: their kernel is compiled for each pattern of strides."""
    orthogonalise(torch.zeros(count, rows, columns, dtype=torch.bfloat16, device="cuda"))


def run_forked(jobs: Sequence[Callable[[], None]], most_seconds: float) -> None:
    """Each job in a process of its own, all at once; what takes longer is killed, so that nobody waits for it for ever."""
    processes = [multiprocessing.get_context("fork").Process(target=job) for job in jobs]
    for process in processes:
        process.start()
    end = time.monotonic() + most_seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _main(flat: str, *variants: str) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    discover_variants(variants)
    config = resolve(json.loads(flat), on_gpu=True)
    images = read_header(config.data).counts["train"]
    run_forked(jobs_of(config, images), most_seconds=STALE_SECONDS)


if __name__ == "__main__":
    _main(*sys.argv[1:])
