"""What a model costs, without building it in memory: parameters, neurons used, multiply-adds."""

from dataclasses import dataclass

import torch

from arch_space.model import ModelConfig
from arch_space.vit_tiny import CHANNELS, COPIES, HEAD_WIDTH


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Costs of one model. Multiply-adds are those of matrix products, for one image forward."""

    parameters: int
    """Trained numbers in the whole model."""

    neurons_used: int | None
    """Neurons that one token uses in one block, summed over its feed-forwards; None where a kind does not define it."""

    macs: int
    """Multiply-adds as trained: a tree computes all its nodes."""

    macs_conditional: int
    """Multiply-adds with each feed-forward in its conditional form; equal to `macs` for kinds that have none."""

    shapes: dict[str, list[int]]
    """Name of each parameter to its shape."""


def cost(config: ModelConfig) -> Cost:
    """The cost of the model that `config.build()` gives, from formulae and from shapes on torch's meta device."""
    with torch.device("meta"):
        model = config.build()
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    used = config.ffn.neurons_used(config.dim)
    outside = _macs_outside_feed_forwards(config)
    modules = config.depth * config.feed_forwards
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        neurons_used=None if used is None else used * config.feed_forwards,
        macs=outside + modules * config.ffn.macs(config.dim, config.tokens),
        macs_conditional=outside + modules * config.ffn.macs_conditional(config.dim, config.tokens),
        shapes=shapes,
    )


def _macs_outside_feed_forwards(config: ModelConfig) -> int:
    """Patch projection, attention and head; norms, softmax and GELU are not matrix products."""
    tokens, dim, width = config.tokens, config.dim, config.heads * HEAD_WIDTH
    patches = (tokens - 1) * CHANNELS * COPIES * config.patch**2 * dim
    projections = tokens * dim * 3 * width + tokens * width * dim
    attention = 2 * tokens**2 * width
    return patches + config.depth * (projections + attention) + dim * config.classes
