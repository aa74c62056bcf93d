"""What every scheduler is: a judge of reports, one at a time, in the order in which they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entrant:
    """A trial as a scheduler knows it: its number in the search (from 1), and the group in which it races."""

    number: int
    group: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scheduler says of one report.

    `rung` is the epoch at which the trial was judged, none where it was not; `value` is what was held against `cutoff`.
    A cut-off is missing where there was nothing to compare with.
    """

    stop: bool
    rung: int | None = None
    cutoff: float | None = None
    value: float | None = None


NOT_JUDGED = Verdict(stop=False)


class Scheduler(Protocol):
    """Judges trials; higher values are better.

    A scheduler decides from nothing but the calls of `judge` and their order: no clock, no chance, no count of planned
    trials. Judging a search's history again, from the store, therefore gives the state that a killed driver had.
    """

    name: str
    rungs: tuple[int, ...]
    """The epochs of all rungs; none where trials are judged at every epoch, or never."""

    def judge(self, trial: Entrant, epoch: int, value: float | None) -> Verdict:
        """Record what a trial reported at an epoch, and say whether it stops.

        Called for every epoch of a trial in order, from 1, but not for the report with which it ended by itself. Where
        a trial is judged, a value that is missing or not finite stops it, and nothing is kept of it.
        """
        ...
