"""What a search's scheduler had to decide, worked out again from the recorded epochs and the order of the decisions.

This is a second implementation on purpose: it shares no line with `search/asha.py`, `hyperband.py` and `median.py`, whose
docstrings give the rules and their sources, so that an error in one of the two shows as a disagreement. (It could not share
any: results know nothing of what searches.)
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import Any

Curve = Sequence[float | None]
"""Validation accuracy at epochs 1, 2, ...; None where it was not a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """The decision that was due: what was held against which cut-off, and whether the trial had to stop."""

    value: float | None
    cutoff: float | None
    stop: bool


class Rule:
    """The rule of one search, from its settings. Ask `due` in the order of the decisions."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.name = str(settings["scheduler"])
        self._grace, self._reduction = int(settings["grace"]), int(settings["reduction"])
        self._epochs, self._pooled = int(settings["epochs"]), bool(settings["pooled_rungs"])
        self._graces = [self._grace * self._reduction**power for power in range(64)]
        self._graces = [grace for grace in self._graces if grace < self._epochs]
        self._cycle = _cycle(len(self._graces) + 1, self._reduction)
        self._seen: dict[tuple[object, ...], list[float]] = defaultdict(list)

    @property
    def known(self) -> bool:
        return self.name in ("asha", "hyperband", "median", "none")

    def judged(self, number: int, epoch: int) -> bool:
        """Whether trial `number` is judged at this epoch, if it does not end there by itself."""
        if self.name == "median":
            return self._grace <= epoch < self._epochs
        if self.name in ("asha", "hyperband"):
            return epoch in self._graces[self._bracket(number) :]
        return False

    def due(self, number: int, kind: str, epoch: int, curve: Curve) -> Due:
        """The decision about this trial at this epoch, where it is judged; its value then counts for those that follow."""
        value = curve[epoch - 1]
        if value is None:
            return Due(value=None, cutoff=None, stop=True)
        race = ("all" if self._pooled else kind, self._bracket(number), epoch)
        decide: Callable[[list[float], Curve], Due] = self._median if self.name == "median" else self._halving
        return decide(self._seen[race], curve[:epoch])

    def _bracket(self, number: int) -> int:
        return self._cycle[(number - 1) % len(self._cycle)] if self.name == "hyperband" else 0

    def _halving(self, seen: list[float], curve: Curve) -> Due:
        """The best 1/reduction of all that have been seen here go on, one at least; equals are treated equally."""
        value = float(curve[-1] or 0.0)
        insort(seen, value)
        places = max(1, int(len(seen) / self._reduction))
        return Due(value=value, cutoff=seen[len(seen) - places], stop=value < seen[len(seen) - places])

    def _median(self, means: list[float], curve: Curve) -> Due:
        """The best so far against the median of the others' means, where three have been here before."""
        values = [value for value in curve if value is not None]
        best = max(values)
        cutoff = median(means) if len(means) >= 3 else None
        insort(means, min(best, list(accumulate(values))[-1] / len(values)))
        return Due(value=best, cutoff=cutoff, stop=cutoff is not None and best < cutoff)


def _cycle(brackets: int, reduction: int) -> list[int]:
    """The bracket of each trial of one cycle of Hyperband: each takes its places at (j + 1/2) / n of the way."""
    shares = []
    for bracket in range(brackets):
        rungs = brackets - 1 - bracket
        shares.append(-(-brackets * reduction**rungs // (rungs + 1)))  # rounded up
    cycle: list[int] = []
    taken = [0] * brackets
    while len(cycle) < sum(shares):
        open_ones = [bracket for bracket in range(brackets) if taken[bracket] < shares[bracket]]
        # (2 t + 1) / (2 n) compared by cross-multiplication would be pairwise; a common denominator does for all
        whole = _product(shares)
        following = min(open_ones, key=lambda b: ((2 * taken[b] + 1) * (whole // shares[b]), b))
        cycle.append(following)
        taken[following] += 1
    return cycle


def _product(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result
