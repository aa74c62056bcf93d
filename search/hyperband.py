"""Hyperband's brackets over ASHA: some trials are judged early, some late, some never.

Source: "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (Li et al., JMLR 2018, arXiv
1603.06560); asynchronous as in "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934).

ASHA must be told how long a trial needs before its value says something (`grace`). Hyperband tries every answer: bracket
b = 0, 1, ..., B is an ASHA of its own with the grace `grace * reduction^b`; the last, B, has no rung left and stops nobody.
Brackets share the budget about equally, as in the paper: of each cycle of trials, bracket b gets

    n_b = ceil((B + 1) / (B - b + 1) * reduction^(B - b))

so that the earliest judge sees the most trials. Trials are dealt by their number, spread evenly over the cycle: nothing
is drawn by chance, so a search that is resumed deals as it would have.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from search.asha import Asha, rungs
from search.verdict import Entrant, Verdict


def dealt(brackets: int, reduction: int) -> list[int]:
    """The bracket of each trial of one cycle, in the order of their numbers."""
    last = brackets - 1
    shares = [ceil(Fraction(brackets, last - b + 1) * reduction ** (last - b)) for b in range(brackets)]
    # the j-th of n trials of a bracket stands at (j + 1/2) / n of the cycle
    places = [(Fraction(2 * j + 1, 2 * share), bracket) for bracket, share in enumerate(shares) for j in range(share)]
    return [bracket for _, bracket in sorted(places)]


class Hyperband:
    """One ASHA for each bracket; a trial's number says in which it races."""

    name = "hyperband"

    def __init__(self, grace: int, reduction: int, epochs: int) -> None:
        self.rungs = rungs(grace, reduction, epochs)
        self._brackets = [Asha(grace * reduction**b, reduction, epochs) for b in range(len(self.rungs) + 1)]
        self._dealt = dealt(len(self._brackets), reduction)

    def bracket(self, number: int) -> int:
        """The bracket of trial `number` (from 1)."""
        return self._dealt[(number - 1) % len(self._dealt)]

    def judge(self, trial: Entrant, epoch: int, value: float | None) -> Verdict:
        return self._brackets[self.bracket(trial.number)].judge(trial, epoch, value)
