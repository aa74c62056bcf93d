"""Fair comparison: widths solved so that the feed-forward parts of different kinds are equally large.

    Match(measure="parameters", target={"ffn": "mlp", "ffn.mlp.hidden": 256})

What is measured is the feed-forward part alone, of F modules in a block (2 in a pair), `depth` blocks, T tokens:

    parameters         F parameters(D)                  of one block
    neurons_used       F neurons_used(D)                of one block, for one token
    macs               depth F macs(D, T)               of all blocks, for one image, as trained
    macs_conditional   depth F macs_conditional(D, T)   of all blocks, for one image, conditional form

A kind's config names the widths that may vary, coarse first, such as ("trees", "dense_rows"). The coarse one is tried alone;
a finer one fills what whole steps of it leave open. Only formulae are used: no module is built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from arch_space.flat import unknown
from arch_space.model import ModelConfig
from results.errors import InputError
from trainer.config import FlatValue

Measure = Literal["parameters", "neurons_used", "macs", "macs_conditional"]
MEASURES: tuple[str, ...] = get_args(Measure)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What the variants of a comparison must have in common. Raises InputError for a value that cannot be met."""

    measure: Measure
    target: float | Mapping[str, FlatValue]
    """The size to be met: a number, or the keys of a variant that has it, such as {"ffn": "mlp", "ffn.mlp.hidden": 256}."""
    tolerance: float = 0.01
    """Largest deviation from the target, as a fraction of it."""

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise InputError(unknown("measure of a match", self.measure, MEASURES))
        if isinstance(self.target, Mapping):
            if not self.target:
                raise InputError('The "target" of a match must be a number or the keys of a variant, but got no key.')
        elif isinstance(self.target, bool) or not isinstance(self.target, int | float):
            raise InputError(
                f'The "target" of a match must be a number or the keys of a variant, but got {self.target!r}.'
            )
        elif not 0 < self.target < math.inf:
            raise InputError(f'The "target" of a match must be above 0, but got {self.target:g}.')
        if not 0 <= self.tolerance < 1:
            raise InputError(f'The "tolerance" of a match must be from 0 to below 1, but got {self.tolerance:g}.')


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Widths of one variant, and how near they bring it to a target."""

    widths: Mapping[str, int]
    """Field of the kind's config to its value, for the widths that were free and used."""
    size: int
    deviation: float
    """size / target - 1."""


def size_of(model: ModelConfig, measure: Measure) -> int | None:
    """The size of a model's feed-forward part; none where its kind does not define the measure."""
    ffn, modules = model.ffn, model.feed_forwards
    if measure == "parameters":
        return modules * ffn.parameters(model.dim)
    if measure == "neurons_used":
        used = ffn.neurons_used(model.dim)
        return None if used is None else modules * used
    count = ffn.macs if measure == "macs" else ffn.macs_conditional
    return model.depth * modules * count(model.dim, model.tokens)


def fit(model: ModelConfig, free: Sequence[str], measure: Measure, target: float, tolerance: float) -> Fit | None:
    """The first widths within the tolerance, else those that come nearest; none where the measure is not defined.

    Args:
        free: fields of `model.ffn` that may vary, coarse first; the others, and what is not tried, stay as they are.
    """
    start = size_of(model, measure)
    if start is None:
        return None
    used = [width for width in free if _grows(model, width, measure)]
    if not used:
        return Fit(widths={}, size=start, deviation=start / target - 1)
    return _fit(model, used, measure, target, tolerance)


def _fit(model: ModelConfig, free: Sequence[str], measure: Measure, target: float, tolerance: float) -> Fit:
    width, finer = free[0], free[1:]
    below, above = _around(model, width, measure, target)
    found = [
        Fit(widths={width: value}, size=size, deviation=size / target - 1)
        for value in (below, above)
        if value is not None and (size := _size(model, width, value, measure)) is not None
    ]
    best = min(found, key=lambda each: abs(each.deviation))
    if not finer:
        return best
    for value in range(below if below is not None else above or 0, -1, -1):
        if abs(best.deviation) <= tolerance or _size(model, width, value, measure) is None:
            break
        rest = _fit(_changed(model, width, value), finer, measure, target, tolerance)
        if abs(rest.deviation) < abs(best.deviation):
            best = replace(rest, widths={width: value, **rest.widths})
    return best


def _around(model: ModelConfig, width: str, measure: Measure, target: float) -> tuple[int | None, int | None]:
    """The largest value of a width whose size is at most the target, and the next one, where the kind takes them.

    The values that a kind takes are an interval around the present one, and sizes do not fall with a width: two bisections.
    """
    present: int = getattr(model.ffn, width)

    def fits(value: int) -> bool:
        size = _size(model, width, value, measure)
        return size is not None and size <= target

    def exceeds(value: int) -> bool:
        size = _size(model, width, value, measure)
        return size is not None and size > target

    if fits(present):
        step = 1
        while fits(present + step):
            step *= 2
        low, high = present + step // 2, present + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low, high if exceeds(high) else None
    low, high = -1, present  # no width is negative
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if exceeds(middle) else (middle, high)
    return low if fits(low) else None, high


def _grows(model: ModelConfig, width: str, measure: Measure) -> bool:
    """Whether a size grows about as fast as the width: one of which only the logarithm counts would run away."""
    start = max(1, getattr(model.ffn, width))
    small, middle, large = (_size(model, width, factor * start, measure) for factor in (1, 16, 256))
    if small is None or middle is None or large is None:
        return True
    return large - middle > 2 * (middle - small)  # 16 times, where it is linear; once, where it is a logarithm


def _size(model: ModelConfig, width: str, value: int, measure: Measure) -> int | None:
    """The size with another value of a width; none where the kind refuses that."""
    if value < 0:
        return None
    try:
        return size_of(_changed(model, width, value), measure)
    except ValueError:
        return None


def _changed(model: ModelConfig, width: str, value: int) -> ModelConfig:
    return replace(model, ffn=replace(model.ffn, **{width: value}))  # type: ignore[type-var]
