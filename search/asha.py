"""ASHA, the asynchronous successive halving algorithm, in its stopping form.

Source: "A System for Massively Parallel Hyperparameter Tuning" (Li et al., MLSys 2020, arXiv 1810.05934).

A trial is judged when it reaches a rung: `grace`, `grace * reduction`, `grace * reduction^2`, ... epochs, all below the
horizon. It goes on if it is among the best 1/reduction of the values that this rung has seen, its own included, and at
least the best one always goes on: with n values the cut-off is the k-th highest, k = max(1, n // reduction); a tie with
the cut-off goes on. Nothing waits, so what a rung has seen depends on the order of arrival: early trials are judged by
few others. A group (by default the feed-forward kind) has rungs of its own, because a kind that learns fast at first
would otherwise push out one that ends higher.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import defaultdict

from search.verdict import NOT_JUDGED, Entrant, Verdict


def rungs(grace: int, reduction: int, epochs: int) -> tuple[int, ...]:
    """The epochs at which trials are judged: below `epochs`, since at the horizon all trials end."""
    levels = []
    level = grace
    while level < epochs:
        levels.append(level)
        level *= reduction
    return tuple(levels)


class Asha:
    """The values that each rung has seen, by group; higher is better."""

    name = "asha"

    def __init__(self, grace: int, reduction: int, epochs: int) -> None:
        self.reduction = reduction
        self.rungs = rungs(grace, reduction, epochs)
        self._seen: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))  # a search's, 8 bytes each

    def judge(self, trial: Entrant, epoch: int, value: float | None) -> Verdict:
        if epoch not in self.rungs:
            return NOT_JUDGED
        if value is None or not math.isfinite(value):
            return Verdict(stop=True, rung=epoch)
        seen = self._seen[trial.group, epoch]
        insort(seen, value)
        survivors = max(1, len(seen) // self.reduction)
        cutoff = seen[-survivors]
        return Verdict(stop=value < cutoff, rung=epoch, cutoff=cutoff, value=value)
