"""The learning rate by the level of a tree of neurons: a factor on the update, root first.

    factor(level) = ratio^(depth - level)        level 0 is the root, level `depth` the leaves, whose factor is 1

A ratio below 1 slows the root. It lowers the mean rate, too; at equal mean rate all factors are divided by their mean
over the neurons of the tree, sum over levels of n(level) factor(level) / sum over levels of n(level).
"""

from collections.abc import Sequence

from arch_space.flat import require_between


def require_level_lr_ratio(value: float) -> None:
    """Raises FieldError for a ratio that is not above 0, or so far from 1 that deep trees overflow; for `__post_init__`."""
    require_between("level_lr_ratio", value, 0.01, 100)


def level_rates(depth: int, ratio: float, neurons_by_level: Sequence[int], equal_mean: bool) -> tuple[float, ...]:
    """The factors of the levels 0..depth. `neurons_by_level` are the neurons of one tree, one number for each level.

    Raises ValueError unless there are depth + 1 of those numbers.
    """
    if len(neurons_by_level) != depth + 1:
        raise ValueError(
            f"A tree of depth {depth} must have neurons on {depth + 1} levels, but got {list(neurons_by_level)}."
        )
    factors = [ratio ** (depth - level) for level in range(depth + 1)]
    if not equal_mean:
        return tuple(factors)
    weighted = sum(neurons * factor for neurons, factor in zip(neurons_by_level, factors, strict=True))
    mean = weighted / sum(neurons_by_level)
    return tuple(factor / mean for factor in factors)
