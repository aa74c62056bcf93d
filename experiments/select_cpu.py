from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from arch_space.ffn.fff import FFFConfig
from arch_space.initialise import initialise
from search.timing import Row, Timing
from trainer.evaluation import autocast
from trainer.timing import cpu_threads, distinct_inputs, time_calls

DIM = 512
TOKENS = {"cpu": (65, 16 * 65), "cuda": (65, 256 * 65)}
"""Those of one image of the baseline, and of a batch that fills the device."""
PRECISION = {"cpu": "fp32", "cuda": "bf16"}
"""What a trial trains in."""
DEPTHS = range(3, 13)


def select_cpu() -> Timing:
    """Is it faster to train a tree by multiplying all its nodes and masking, or by gathering the visited rows?"""
    return Timing(
        rows=rows,
        settings={"trees": 1, "dim": DIM, "depths": f"{DEPTHS[0]} to {DEPTHS[-1]}", "cpu_threads": 1},
        x="depth",
        y="milliseconds",
        quartiles=("low", "high"),
        line=("device", "tokens", "form"),
        about=(
            "Forward and backward of one tree, gradients of input and weights, no optimizer; every token is another, "
            "and N(0, 1), the weights those of the start. On a GPU called eagerly, not recorded as a graph. "
            "A cpu_share below 0.9 says that others held the core: then run it again on an idle machine."
        ),
    )


def rows() -> Iterator[Row]:
    for depth in DEPTHS:
        for name in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            for tokens in TOKENS[name]:
                yield from compare(depth, torch.device(name), dim=DIM, tokens=tokens)


def compare(depth: int, device: torch.device, *, dim: int, tokens: int, seconds: float = 0.5) -> Iterator[Row]:
    config = FFFConfig(depth=depth)
    module = config.build(dim, 0.0)
    initialise(module, 0)
    module.to(device).train()
    inputs = [batch.requires_grad_() for batch in distinct_inputs(tokens, dim, device)]
    calls = {form: partial(gradients, module, form) for form in ("masked", "gathered")}
    with cpu_threads(1):  # one thread is what a trial on a CPU has
        spreads = time_calls(calls, inputs, device, seconds=seconds)
    for form, spread in spreads.items():
        low, high = spread.quartiles
        yield {
            "device": device.type,
            "precision": PRECISION[device.type],
            "tokens": tokens,
            "depth": depth,
            "nodes": config.nodes,
            "form": form,
            "milliseconds": 1e3 * spread.median,
            "low": 1e3 * low,
            "high": 1e3 * high,
            "times_as_fast_as_masked": spread.times_as_fast(spreads["masked"]),
            "cpu_share": spread.cpu_share,
        }


def gradients(module: nn.Module, form: str, x: Tensor) -> tuple[Tensor, ...]:
    """Of a sum of squares by the input and all parameters, in their order."""
    with autocast(x.device, PRECISION[x.device.type]):
        y = module(x) if form == "masked" else module.forward_conditional(x)  # type: ignore[operator]
    return torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
