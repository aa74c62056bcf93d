"""`python -m trainer.compile_region JSON REGION [VARIANTS...]`: the compiled code of one region of a trial's model, on disk.

A process beside a trial (`trainer.compiled` starts it): it needs little of the card, and neither data nor DeepSpeed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from arch_space.auxiliary import with_auxiliary
from trainer.compiled import claim, compilation_key, compile_regions, distinct_regions, note
from trainer.evaluation import EVALUATION_BATCH, autocast

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.config import TrialConfig


def compile_to_disk(config: TrialConfig, region: int, done: Callable[[str, dict[str, float]], None]) -> None:
    """Run a module of the region forward and backward as in training, then forward as in evaluation, on random input.

    That leaves its code on disk. `done` hears of "ready" after the first and of "evaluates" after the second, with the
    seconds of the stages so far.
    """
    # torch would start its processes with the first compilation, and compile one kernel after the other until they are up
    with contextlib.suppress(ImportError):  # an internal name
        from torch._inductor.async_compile import maybe_warm_pool

        maybe_warm_pool()
    device = torch.device("cuda", 0)
    began = time.perf_counter()
    seconds: dict[str, float] = {}

    def stage(name: str) -> None:
        torch.cuda.synchronize()
        seconds[name] = round(time.perf_counter() - began - sum(seconds.values()), 1)

    module = distinct_regions(config.model.build())[region][0].to(device)
    x = _random_input(config, region, config.micro_batch, device)
    compile_regions(module)
    stage("start")
    with autocast(device, config.precision):
        y = module(x)
    stage("forward")
    with_auxiliary(y.float().mean(), module).backward()
    stage("backward")
    done("ready", seconds)
    module.eval()
    x = _random_input(config, region, EVALUATION_BATCH, device).detach()
    with torch.no_grad(), autocast(device, config.precision):
        module(x)
    stage("evaluation")
    done("evaluates", seconds)


def _random_input(config: TrialConfig, region: int, images: int, device: torch.device) -> Tensor:
    """Numbers in the form in which the region gets its input; with a gradient unless they are the images."""
    form = input_form(config, region, images, device)
    strided = torch.empty_strided(form.shape, form.stride(), dtype=form.dtype, device=device)
    return strided.normal_().requires_grad_(form.requires_grad)


def input_form(config: TrialConfig, region: int, images: int, device: torch.device) -> Tensor:
    """What the model gives to the region: a tensor without memory, of the right shape, strides and type."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        raise _ReachedError

    size = config.model.image_size
    with FakeTensorMode(), torch.device(device):
        model = config.model.build()
        distinct_regions(model)[region][0].register_forward_pre_hook(stop)
        with contextlib.suppress(_ReachedError), autocast(device, config.precision):
            model(torch.empty(images, 3, size, size))
    return seen[0]


class _ReachedError(Exception):
    """The forward pass has come to the region."""


def make_region(config: TrialConfig, region: int) -> None:
    """Its code on disk, unless that is there or somebody is at it."""
    key = compilation_key(config)
    if not note(key, region, "evaluates").exists() and claim(key, region):
        make_claimed_region(config, region)


def make_claimed_region(config: TrialConfig, region: int) -> None:
    """Its code on disk, with notes that say so, and the claim given up."""
    key = compilation_key(config)

    def done(what: str, seconds: dict[str, float]) -> None:
        path = note(key, region, what)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump({"seconds": seconds}, file)
        os.replace(file.name, path)

    try:
        compile_to_disk(config, region, done)
    finally:
        note(key, region, "claimed").unlink(missing_ok=True)


def _main(flat: str, region: str, *variants: str) -> None:
    from trainer.config import TrialConfig
    from trainer.resolve import discover_variants

    discover_variants(variants)
    make_claimed_region(TrialConfig.from_flat(json.loads(flat)), int(region))


if __name__ == "__main__":
    _main(*sys.argv[1:])
