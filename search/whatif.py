"""What another scheduler would have made of trials that were trained to their end: what it saves, and what it misses."""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from results.errors import InputError
from results.rows import EpochRow, TrialRow
from results.store import Store
from results.tuned import passed_over, that_count
from search.experiment import Experiment
from search.session import Assignment, Session
from search.simulated import Clock, Given, reports_of, simulate
from trainer.report import Report

COMPLETE = frozenset({"finished", "plateau", "diverged"})
"""Ends that a trial came to by itself: its curve is all that there is of it."""
LEAST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A scheduler as it would be built."""

    scheduler: str
    grace: int
    reduction: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a setting gives, over all orders of the trials. Accuracies are fractions."""

    setting: Setting
    stopped: float
    """Trials that are stopped, mean."""
    epochs: float
    """Epochs that are trained, mean."""
    hours: float
    """Hours of training and validation, mean; of the GPU share that a trial has, or of a slot where it has none."""
    hours_saved: float
    """Against training all trials to their end."""
    regret: float
    """The best final accuracy of all minus that of the best trial which is left, mean."""
    worst_regret: float
    best_kept: float
    """Share of the orders in which the best trial of all is left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankCorrelation:
    """Spearman's, of the values of one race at an epoch with the final ones; none where a value is the same throughout."""

    epoch: int
    race: str
    trials: int
    correlation: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    """The complete trials of a search, with their curves, in the order of their numbers."""

    settings: Mapping[str, Any]
    trials: Sequence[TrialRow]
    curves: Sequence[Sequence[EpochRow]]
    left_out: int
    """Trials without a complete curve."""
    tuning: int
    """Those that tuned a learning rate, which are no trials of the search that is simulated."""

    @property
    def gpus(self) -> float:
        return float(self.settings["gpus_per_trial"])

    @property
    def horizon(self) -> int:
        return int(self.settings["epochs"])

    def race(self, trial: TrialRow) -> str:
        return "all" if self.settings["pooled_rungs"] else str(trial.config["ffn"])

    def final(self, place: int) -> float | None:
        """A trial's accuracy at its end; none where it diverged."""
        trial = self.trials[place]
        return trial.val_acc if trial.status != "diverged" else None

    def hours(self, seconds: float) -> float:
        return seconds * (self.gpus or 1.0) / 3600


def recording(store: Store, search_id: str) -> Recording:
    """Raises InputError: an unknown search, one not made by search.run, or one with fewer than `LEAST` complete curves."""
    settings = store.search(search_id).settings
    if "source" not in settings:
        raise InputError(f"{search_id} was not made by search.run, so there is no search to simulate.")
    every = store.trials(search_id)
    rows = that_count(every)
    tuning = len(every) - len(rows)
    trials = [row for row in rows if row.status in COMPLETE]
    if sum(row.status != "diverged" for row in trials) < LEAST:
        raise InputError(
            f"A what-if needs at least {LEAST} trials that were trained to their end, but {search_id} has "
            f"{sum(row.status != 'diverged' for row in trials)} of {len(rows)}"
            f"{f' ({passed_over(tuning)})' if tuning else ''}: run a comparison, or a search with --scheduler none."
        )
    return Recording(settings, trials, [store.epochs(row.id) for row in trials], len(rows) - len(trials), tuning)


def own_setting(recorded: Recording) -> Setting | None:
    """The scheduler that the search had; none where it stopped nothing, against which every outcome is measured anyway."""
    settings = recorded.settings
    if settings["scheduler"] == "none":
        return None
    return Setting(scheduler=settings["scheduler"], grace=settings["grace"], reduction=settings["reduction"])


def outcome(recorded: Recording, setting: Setting, concurrency: int, orders: int) -> Outcome:
    """Simulate the setting on the recorded trials, in the recorded order and in `orders - 1` shuffled ones.

    Raises:
        InputError: the setting is out of range for the recorded horizon.
    """
    finals = [recorded.final(place) for place in range(len(recorded.trials))]
    best = max(value for value in finals if value is not None)
    searches = [_searched(recorded, setting, concurrency, order) for order in _orders(len(finals), orders)]
    seconds = [sum(trial.wall_seconds or 0.0 for trial in trials) for trials in searches]
    full = sum(epoch.train_seconds + epoch.val_seconds for curve in recorded.curves for epoch in curve)
    left = [
        max(
            (row.val_acc for row in trials if row.status in ("finished", "plateau") and row.val_acc is not None),
            default=0.0,
        )
        for trials in searches
    ]
    return Outcome(
        setting=setting,
        stopped=statistics.fmean(sum(row.status == "stopped" for row in trials) for trials in searches),
        epochs=statistics.fmean(sum(row.epochs for row in trials) for trials in searches),
        hours=recorded.hours(statistics.fmean(seconds)),
        hours_saved=recorded.hours(full - statistics.fmean(seconds)),
        regret=statistics.fmean(best - value for value in left),
        worst_regret=max(best - value for value in left),
        best_kept=statistics.fmean(value == best for value in left),
    )


def _orders(count: int, orders: int) -> Iterator[list[int]]:
    for number in range(orders):
        order = list(range(count))
        if number:
            random.Random(number).shuffle(order)
        yield order


def _searched(recorded: Recording, setting: Setting, concurrency: int, order: Sequence[int]) -> list[TrialRow]:
    """The rows of one simulated search, kept in a store that is gone afterwards."""

    def curve(assignment: Assignment) -> Iterator[Report]:
        place = order[assignment.number - 1]
        return reports_of(recorded.trials[place], recorded.curves[place], assignment.reported)

    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/arbor.db") as store:
        experiment = Experiment(
            name="what-if",
            base={"epochs": recorded.horizon},
            space=lambda scope: {},  # never asked: the trials are given
            trials=len(order),
            scheduler=setting.scheduler,
            grace=setting.grace,
            reduction=setting.reduction,
            pooled_rungs=bool(recorded.settings["pooled_rungs"]),
        )
        clock = Clock()
        session = Session(
            store,
            store.create_search(experiment.name, experiment.question, {}, {}),
            experiment,
            folder=Path(folder),
            header=None,
            concurrency=concurrency,
            gpus_per_trial=recorded.gpus,
            startup_trials=1,
            sampler=Given([recorded.trials[place].config for place in order]),
            clock=clock,
        )
        simulate(session, curve, clock)
        return store.trials(session.search_id)


def rank_correlations(recorded: Recording, epochs: Sequence[int]) -> list[RankCorrelation]:
    """How well the order at each of these epochs foretells the final one, in each race; only among trials with both."""
    found = []
    races = dict.fromkeys(recorded.race(trial) for trial in recorded.trials)
    for epoch in epochs:
        for race in races:
            pairs = [
                (curve[epoch - 1].val_acc, recorded.final(place))
                for place, (trial, curve) in enumerate(zip(recorded.trials, recorded.curves, strict=True))
                if recorded.race(trial) == race and len(curve) >= epoch
            ]
            known = [(early, late) for early, late in pairs if early is not None and late is not None]
            if len(known) >= LEAST:
                found.append(RankCorrelation(epoch=epoch, race=race, trials=len(known), correlation=_spearman(known)))
    return found


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    early, late = zip(*pairs, strict=True)
    if len(set(early)) < 2 or len(set(late)) < 2:
        return None
    return float(stats.spearmanr(early, late).statistic)
