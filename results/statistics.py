"""How sure a mean over few seeds is, and what difference it can show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats


def t_interval(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of Student's t interval of a mean; NaN for fewer than two values.

    A percentile bootstrap would cover 75 % instead of 95 % at three values.
    """
    n = len(values)
    if n < 2:
        return math.nan
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return float(stats.t.ppf((1 + confidence) / 2, n - 1)) * deviation / math.sqrt(n)


def pooled_deviation(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation between seeds pooled over variants, and its degrees of freedom; (NaN, 0) without any."""
    squares, freedom = 0.0, 0
    for group in groups:
        if len(group) >= 2:
            mean = sum(group) / len(group)
            squares += sum((value - mean) ** 2 for value in group)
            freedom += len(group) - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def detectable_difference(deviation: float, seeds: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The difference of two means over `seeds` seeds each that a two-sided t test finds with that power.

    The usual approximation by normal quantiles, (z_{1-alpha/2} + z_power) * deviation * sqrt(2 / n), is too hopeful for few
    seeds; here the power of the t test itself is solved for.
    """
    if seeds < 2 or not math.isfinite(deviation):
        return math.nan
    freedom = 2 * seeds - 2
    critical = float(stats.t.ppf(1 - alpha / 2, freedom))
    low, high = 0.0, 100.0
    for _ in range(60):
        shift = (low + high) / 2
        found = 1 - stats.nct.cdf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift)
        low, high = (shift, high) if found < power else (low, shift)
    return high * deviation * math.sqrt(2 / seeds)


def accuracy_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy measured on so many images."""
    return math.sqrt(max(accuracy * (1 - accuracy), 0) / images)
