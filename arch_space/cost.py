"""What a model costs, without building it in memory: parameters, neurons used, multiply-adds."""

from dataclasses import dataclass, replace
from functools import lru_cache

from torch import nn

from arch_space.ffn.mlp import MLPConfig
from arch_space.model import ModelConfig
from arch_space.registry import FFN
from arch_space.shapes_only import shapes_only
from arch_space.vit_tiny import CHANNELS, COPIES, HEAD_WIDTH


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Costs of one model. Multiply-adds are those of matrix products, for one image forward.

    They count every token in every block, as the papers do, though `vit_tiny` leaves out what nobody reads of the last.
    """

    parameters: int
    """Trained numbers in the whole model."""

    neurons_used: int | None
    """Neurons that one token uses in one block, summed over its feed-forwards; None where a kind does not define it."""

    macs: int
    """Multiply-adds as trained: a tree computes all its nodes."""

    macs_conditional: int
    """Multiply-adds with each feed-forward in its conditional form; equal to `macs` for kinds that have none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost(Price):
    """A price, and the shapes that it is of."""

    shapes: dict[str, list[int]]
    """Name of each parameter to its shape."""


def cost(config: ModelConfig) -> Cost:
    """The cost of the model that `config.build()` gives, from formulae and from the shapes of its parameters."""
    model = built_for_shapes(config)
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


def built_for_shapes(config: ModelConfig) -> nn.Module:
    """The model that `config.build()` gives, with parameters of the right shapes whose values mean nothing."""
    with shapes_only(_about(config)):
        return config.build()


def _about(config: ModelConfig) -> int:
    """Roughly the number of parameters, before any is made."""
    attention = 4 * config.dim * config.heads * HEAD_WIDTH
    around = config.dim * (CHANNELS * COPIES * config.patch**2 + config.tokens + config.classes)
    return around + config.depth * (attention + config.feed_forwards * config.ffn.parameters(config.dim))


def price(config: ModelConfig) -> Price:
    """What `cost` says but for the shapes, by formulae alone: in microseconds, for searches of thousands of trials.

    Raises:
        ValueError: the kind's own formula is wrong; found at its first use, where the model is built for its shapes.
    """
    own, modules = config.ffn.parameters(config.dim), config.depth * config.feed_forwards
    parameters = _parameters_outside_feed_forwards(replace(config, ffn=MLPConfig(hidden=1))) + modules * own
    if type(config.ffn) not in _FORMULA_HOLDS:
        counted = cost(config).parameters
        if counted != parameters:
            raise ValueError(
                f'"parameters" of the kind {FFN.kind_of(config.ffn)!r} must be what its module has, but got {own} a module, '
                f"which makes {parameters:,} in the whole model, where it has {counted:,}."
            )
        _FORMULA_HOLDS.add(type(config.ffn))
    used = config.ffn.neurons_used(config.dim)
    outside = _macs_outside_feed_forwards(config)
    return Price(
        parameters=parameters,
        neurons_used=None if used is None else used * config.feed_forwards,
        macs=outside + modules * config.ffn.macs(config.dim, config.tokens),
        macs_conditional=outside + modules * config.ffn.macs_conditional(config.dim, config.tokens),
    )


_FORMULA_HOLDS: set[type] = set()
"""Kinds whose formula has once given what their module has."""


@lru_cache(maxsize=1024)
def _parameters_outside_feed_forwards(least: ModelConfig) -> int:
    """Of a model with the least feed-forwards; built once for each width, depth and so on."""
    return cost(least).parameters - least.depth * least.feed_forwards * least.ffn.parameters(least.dim)


def _macs_outside_feed_forwards(config: ModelConfig) -> int:
    """Patch projection, attention and head; norms, softmax and GELU are not matrix products."""
    tokens, dim, width = config.tokens, config.dim, config.heads * HEAD_WIDTH
    patches = (tokens - 1) * CHANNELS * COPIES * config.patch**2 * dim
    projections = tokens * dim * 3 * width + tokens * width * dim
    attention = 2 * tokens**2 * width
    return patches + config.depth * (projections + attention) + dim * config.classes
