"""What a driver keeps in memory of the trials that have ended: a few sums and the best rows. The store has the rest.

So a driver's memory does not grow with the length of its search.
"""

from __future__ import annotations

from collections import Counter

from results.rows import TrialRow
from results.tuned import COMPLETE

BEST = 14
"""Rows that are kept: as many as the live view shows."""


class Ended:
    """The trials of one search that have ended, in numbers."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.epochs = 0
        """Of all of them."""
        self.best: list[TrialRow] = []
        """Those that ran to their end first, by accuracy; then the others by the epochs they came to, then by accuracy."""
        self._timed, self._seconds = 0, 0.0

    def __len__(self) -> int:
        return self.statuses.total()

    @property
    def mean_seconds(self) -> float | None:
        """Wall time of those that took any; none where none did."""
        return self._seconds / self._timed if self._timed else None

    def add(self, row: TrialRow) -> None:
        """A trial has ended; call once for each."""
        self.statuses[row.status] += 1
        self.epochs += row.epochs
        if row.wall_seconds:
            self._timed, self._seconds = self._timed + 1, self._seconds + row.wall_seconds
        # a new list: the live view reads this one from a thread of its own
        self.best = sorted([*self.best, row], key=_standing, reverse=True)[:BEST]


def _standing(row: TrialRow) -> tuple[bool, int, float]:
    complete = row.status in COMPLETE  # one that ended at a plateau is ranked by its accuracy, however soon that came
    return complete, 0 if complete else row.epochs, row.val_acc or 0.0
