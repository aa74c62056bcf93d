"""What the difference of two variants allows to say, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.remarks import Spread
from results.statistics import Difference, detectable_difference, equivalence_p, holm
from results.table import LEVEL
from results.text import counted

DIFFERENT, EQUIVALENT, NOT_RESOLVED = "different", "equivalent", "not resolved"
MOST_SEEDS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One comparison, judged together with the others that were made."""

    difference: Difference
    p_holm: float
    """Of the difference, corrected for the number of comparisons."""
    p_equivalence: float
    """Of TOST within the margin, corrected likewise."""
    word: str
    claim: str


def judge(
    names: Sequence[tuple[str, str]],
    found: Sequence[Difference],
    seeds: Sequence[tuple[int, int]],
    spread: Spread,
    margin: float,
) -> list[Verdict]:
    """A verdict for each difference; `names` and `seeds` are those of its two sides, `margin` a fraction."""
    of_difference = holm([each.p for each in found])
    of_equivalence = holm([equivalence_p(each, margin) for each in found])
    verdicts = []
    for (a, b), each, (n_a, n_b), p, q in zip(names, found, seeds, of_difference, of_equivalence, strict=True):
        word = DIFFERENT if p < LEVEL else EQUIVALENT if q < LEVEL else NOT_RESOLVED
        if word == DIFFERENT:
            claim = _different(a, b, each, p, q, margin, corrected=len(found) > 1)
        elif word == EQUIVALENT:
            claim = (
                f"{a} and {b} are equivalent within {100 * margin:g} points (two one-sided tests, {_p(q)}); the "
                f"difference is {_interval(each)}."
            )
        else:
            claim = _not_resolved(a, b, each, min(n_a, n_b), spread, margin)
        verdicts.append(Verdict(difference=each, p_holm=p, p_equivalence=q, word=word, claim=claim))
    return verdicts


def _different(a: str, b: str, found: Difference, p: float, q: float, margin: float, *, corrected: bool) -> str:
    better, worse = (a, b) if found.value > 0 else (b, a)
    low, high = sorted((abs(found.low), abs(found.high)))
    said = (
        f"{better} is better than {worse} by {100 * abs(found.value):.2f} points (95 % interval {100 * low:.2f} to "
        f"{100 * high:.2f}, {_p(p)}{', corrected for the number of comparisons' if corrected else ''})"
    )
    return f"{said}, which is less than the margin of {100 * margin:g} points." if q < LEVEL else f"{said}."


def _not_resolved(a: str, b: str, found: Difference, seeds: int, spread: Spread, margin: float) -> str:
    if not found.freedom:
        return (
            f"Not resolved: {a} and {b} differ by {100 * found.value:+.2f} points, and one seed a variant shows no "
            "spread; train both with several seeds."
        )
    gap = detectable_difference(spread.deviation, seeds, freedom=spread.freedom)
    needed = seeds_needed(spread.deviation, margin)
    more = f"about {needed} seeds each" if needed <= MOST_SEEDS else f"more than {MOST_SEEDS} seeds each"
    return (
        f"Not resolved: the difference of {a} and {b} is {_interval(found)}; neither a difference nor equivalence within "
        f"{100 * margin:g} points can be claimed. {counted(seeds, 'seed')} a side find "
        f"{100 * gap:.2f} points with 80 % power; {100 * margin:g} take {more}."
    )


def seeds_needed(deviation: float, gap: float) -> int:
    """The fewest seeds a side by which a t test of the two alone finds `gap` with 80 % power; above MOST_SEEDS: no."""
    if not deviation > 0:
        return 2
    low, high = 1, 2
    while high <= MOST_SEEDS and detectable_difference(deviation, high) > gap:
        low, high = high, 2 * high
    while high <= MOST_SEEDS and high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if detectable_difference(deviation, middle) > gap else (low, middle)
    return high


def _interval(found: Difference) -> str:
    return f"{100 * found.value:+.2f} points (95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f})"


def _p(p: float) -> str:
    return "p missing" if math.isnan(p) else "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
