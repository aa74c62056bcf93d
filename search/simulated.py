"""A search in virtual time: the real session, scheduler, sampler and store; only the training is replaced by known curves.

Workers are slots. Each trains its trial an epoch at a time, and an epoch takes as long as its curve says; reports reach the
session in the order in which those epochs end, equals in the order in which they began. No Ray, no GPU, no waiting.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.rows import EpochRow, TrialRow
from results.store import Store
from search.sampler import Past
from search.session import Assignment, Session
from trainer.config import Flat
from trainer.report import Report, Status

Curve = Callable[[Assignment], Iterator[Report]]
"""The reports of a trial from its epoch `reported + 1` on, the last one with the status with which the trial ends."""


class Clock:
    """Virtual seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True, order=True)
class _Epoch:
    """An epoch that a slot is training."""

    ends: float
    began_as: int
    trial_id: str
    report: Report
    rest: Iterator[Report]


def simulate(session: Session, curve: Curve, clock: Clock) -> str:
    """Train until the session is done or its time is up; the status that the search then has.

    Args:
        clock: the session's own.
    Raises:
        ValueError: a curve ends before its trial does.
    """
    live: list[_Epoch] = []
    begun = 0

    def train(trial_id: str, reports: Iterator[Report]) -> None:
        nonlocal begun
        report = next(reports, None)
        if report is None:
            raise ValueError(f"The curve of {trial_id} ends, but the trial was to train on.")
        begun += 1
        seconds = report.row.train_seconds + report.row.val_seconds
        heapq.heappush(live, _Epoch(clock.now + seconds, begun, trial_id, report, reports))

    while True:
        while (assignment := session.next_trial()) is not None:
            train(assignment.trial_id, curve(assignment))
        if not live:
            return session.close()
        epoch = heapq.heappop(live)
        clock.now = epoch.ends
        if session.report(epoch.trial_id, epoch.report, {}):
            session.release(epoch.trial_id)
        else:
            train(epoch.trial_id, epoch.rest)


def recorded(store: Store, search_id: str) -> Curve:
    """The curves that a search recorded, by variant and seed: a trial of the same dictionary goes the same way.

    The curve raises ValueError for a trial that was not recorded.
    """
    known = {_key(row.config): (row, store.epochs(row.id)) for row in store.trials(search_id)}

    def curve(assignment: Assignment) -> Iterator[Report]:
        key = _key(assignment.flat)
        if key not in known:
            raise ValueError(f"{search_id} has no trial like {assignment.trial_id}.")
        row, epochs = known[key]
        return reports_of(row, epochs, assignment.reported)

    return curve


def reports_of(row: TrialRow, epochs: Sequence[EpochRow], reported: int) -> Iterator[Report]:
    """What a trial reported from its epoch `reported + 1` on. One that was stopped reports nothing of it."""
    seconds = 0.0
    for epoch in epochs:
        seconds += epoch.train_seconds + epoch.val_seconds
        status: Status = "running"
        if epoch is epochs[-1]:
            match row.status:
                case "finished" | "plateau" | "diverged" as ended:
                    status = ended
        if epoch.epoch > reported:
            yield Report(row=epoch, status=status, wall_seconds=seconds)


def _key(flat: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(flat.items()))


class Given:
    """In a sampler's place: known trials, in this order."""

    def __init__(self, flats: Sequence[Flat]) -> None:
        self._flats = flats

    def ask(self, number: int) -> Flat | None:
        return dict(self._flats[number - 1]) if number <= len(self._flats) else None

    def drawn(self, number: int) -> dict[str, Any]:
        return {}

    def report(self, number: int, epoch: int, value: float) -> None:
        """Nothing is learnt."""

    def tell(self, number: int, status: str, values: Sequence[float | None]) -> None:
        """Nothing is learnt."""

    def take_up(self, past: Sequence[Past]) -> bool:
        return True
