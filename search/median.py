"""The median rule: a trial stops that has never been as good as the others were on average.

Source: "Google Vizier: A Service for Black-Box Optimization" (Golovin et al., KDD 2017), section 3.2.1.

At epoch s, from `grace` on and below the horizon, trial x is judged by the trials i of its group that reached s before it:

    it stops if  max(y_x[1..s])  <  median over i of mean(y_i[1..s])

and never while fewer than `COMPARED` others have been there. Vizier compares with completed trials alone; here those that
were stopped later than s count, too, since in a search that stops most trials the completed ones are few and the best.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass

from search.verdict import NOT_JUDGED, Entrant, Verdict

COMPARED = 3
"""Others that must have reached an epoch before anybody is stopped there."""


@dataclass(slots=True)
class _Curve:
    """A running trial so far."""

    count: int = 0
    total: float = 0.0
    best: float = -math.inf


class Median:
    """For each group and epoch, the means of the curves that came by, sorted; for each running trial, its own curve."""

    name = "median"
    rungs: tuple[int, ...] = ()

    def __init__(self, grace: int, reduction: int, epochs: int) -> None:
        self._grace, self._epochs = grace, epochs
        self._means: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))  # a search's, 8 bytes each
        self._curves: dict[int, _Curve] = {}

    def judge(self, trial: Entrant, epoch: int, value: float | None) -> Verdict:
        curve = self._curves.setdefault(trial.number, _Curve())
        usable = value is not None and math.isfinite(value)
        if value is not None and usable:
            curve.count, curve.total, curve.best = curve.count + 1, curve.total + value, max(curve.best, value)
        if not self._grace <= epoch < self._epochs:
            return NOT_JUDGED
        verdict = self._verdict(trial.group, epoch, curve) if usable else Verdict(stop=True, rung=epoch)
        if verdict.stop or epoch == self._epochs - 1:
            del self._curves[trial.number]
        return verdict

    def _verdict(self, group: str, epoch: int, curve: _Curve) -> Verdict:
        others = self._means[group, epoch]
        cutoff = None if len(others) < COMPARED else (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2
        insort(others, min(curve.best, curve.total / curve.count))  # rounding may lift the mean of equals above them
        stop = cutoff is not None and curve.best < cutoff
        return Verdict(stop=stop, rung=epoch, cutoff=cutoff, value=curve.best)
