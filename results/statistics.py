"""How sure a mean over few seeds is, what difference it can show, and what two variants' difference allows to say.

Tests between variants use one standard deviation, pooled over all variants of a table: with three seeds each a variant's
own has two degrees of freedom, and a test by it finds next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The difference of two means, a minus b, in the values' own unit. NaN where nothing shows a spread."""

    value: float
    error: float
    """Standard error, from the pooled standard deviation: s sqrt(1/n_a + 1/n_b)."""
    low: float
    high: float
    """Bounds of Student's t interval."""
    p: float
    """Of the two-sided t test that the means are equal."""
    freedom: int
    """Degrees of freedom of the pooled standard deviation."""


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


def pooled_interval(deviation: float, freedom: int, n: int, confidence: float = 0.95) -> float:
    """Half the width of the t interval of a mean over n values by a pooled deviation; NaN where nothing shows a spread."""
    if freedom < 1 or n < 1:
        return math.nan
    return float(stats.t.ppf((1 + confidence) / 2, freedom)) * deviation / math.sqrt(n)


def pooled_deviation(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation between seeds pooled over variants, and its degrees of freedom; (NaN, 0) without any."""
    squares, freedom = 0.0, 0
    for group in groups:
        if len(group) >= 2:
            mean = sum(group) / len(group)
            squares += sum((value - mean) ** 2 for value in group)
            freedom += len(group) - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def equal_spread_p(groups: Sequence[Sequence[float]]) -> float:
    """p of Bartlett's test that all groups have one variance, which pooling takes for granted; NaN without two that vary.

    Bartlett 1937, https://doi.org/10.1098/rspa.1937.0109.
    """
    varying = [group for group in groups if len(set(group)) > 1]
    return float(stats.bartlett(*varying).pvalue) if len(varying) > 1 else math.nan


def difference(
    a: Sequence[float], b: Sequence[float], deviation: float, freedom: int, confidence: float = 0.95
) -> Difference:
    """The difference of the means of `a` and `b` by a standard deviation that is pooled over the table.

    Args:
        deviation: as `pooled_deviation` gives it; NaN where no variant has two seeds.
        freedom: its degrees of freedom.
    Raises:
        ValueError: a side without a value.
    """
    if not a or not b:
        raise ValueError(f"A difference needs a value on each side, but got {len(a)} and {len(b)}.")
    value = sum(a) / len(a) - sum(b) / len(b)
    if freedom < 1 or not math.isfinite(deviation):
        return Difference(value=value, error=math.nan, low=math.nan, high=math.nan, p=math.nan, freedom=0)
    error = deviation * math.sqrt(1 / len(a) + 1 / len(b))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    if error > 0:
        p = float(2 * stats.t.sf(abs(value) / error, freedom))
    else:  # every seed of every variant gave the same
        p = 1.0 if value == 0 else 0.0
    return Difference(value=value, error=error, low=value - half, high=value + half, p=p, freedom=freedom)


def equivalence_p(found: Difference, margin: float) -> float:
    """p of two one-sided t tests (TOST) that the means differ by `margin` or more; small means equivalent within it.

    Schuirmann 1987, https://doi.org/10.1007/BF01068419. At 5 % it says so where the 90 % interval lies inside the margin.

    Raises:
        ValueError: a margin that is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"The margin of an equivalence must be above 0, but got {margin}.")
    if not found.freedom:
        return math.nan
    if found.error == 0:
        return 0.0 if abs(found.value) < margin else 1.0
    return float(stats.t.sf((margin - abs(found.value)) / found.error, found.freedom))


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down; NaN (no test was made) stays, and does not count.

    The i-th smallest of m becomes the largest of (m - j + 1) p_j over j <= i, at most 1. Holm 1979,
    https://www.jstor.org/stable/4615733: the chance of any false claim among them stays below the level.
    """
    made = sorted((p, place) for place, p in enumerate(values) if not math.isnan(p))
    corrected = [math.nan] * len(values)
    largest = 0.0
    for rank, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        corrected[place] = largest
    return corrected


def against_best(groups: Sequence[Sequence[float]], deviation: float, freedom: int) -> list[float]:
    """For each variant the corrected p that its mean equals that of the best mean; 1 for the best itself.

    The best was picked after looking, so Holm's correction is over all pairs, not over those with the best alone: with
    ten equal variants of three seeds, correcting for nine claims a difference in 12 % of all tables, for all pairs in 3 %.
    NaN throughout where nothing shows a spread.
    """
    if not groups:
        return []
    means = np.array([sum(group) / len(group) for group in groups])
    sizes = np.array([len(group) for group in groups])
    best = int(means.argmax())
    first, second = np.triu_indices(len(groups), k=1)
    if freedom < 1 or not math.isfinite(deviation):
        return [math.nan] * len(groups)
    gaps, errors = np.abs(means[first] - means[second]), deviation * np.sqrt(1 / sizes[first] + 1 / sizes[second])
    with np.errstate(divide="ignore", invalid="ignore"):  # where every seed gave the same: 0 / 0 is no difference
        p = np.where(gaps == 0, 1.0, 2 * stats.t.sf(gaps / errors, freedom))
    corrected = holm([float(value) for value in p])
    found = [1.0] * len(groups)
    for a, b, value in zip(first, second, corrected, strict=True):
        if best in (a, b):
            found[b if a == best else a] = value
    return found


def mcnemar(only_a: int, only_b: int) -> float:
    """p of McNemar's exact test: of the images that one of two networks alone has right, half are expected on each side.

    Binomial, two-sided; 1 where they never differ. McNemar 1947, https://doi.org/10.1007/BF02295996.
    """
    discordant = only_a + only_b
    return float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0


def detectable_difference(
    deviation: float, seeds: int, power: float = 0.8, alpha: float = 0.05, freedom: int | None = None
) -> float:
    """The difference of two means over `seeds` seeds each that a two-sided t test finds with that power.

    The usual approximation by normal quantiles, (z_{1-alpha/2} + z_power) * deviation * sqrt(2 / n), is too hopeful for few
    seeds; here the power of the t test itself is solved for. `freedom` is that of the deviation, 2 n - 2 where it comes
    from the two variants alone.
    """
    freedom = 2 * seeds - 2 if freedom is None else freedom
    if seeds < 1 or freedom < 1 or not math.isfinite(deviation):
        return math.nan
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
