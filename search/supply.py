"""The new trials of a search: what its comparison has left to train, or what its sampler suggests, as rows of the store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arch_space.cost import price
from results.errors import InputError
from results.rows import TrialRow
from results.store import ENDED, Store
from search.experiment import Experiment
from search.latencies import LATENCY, latency_of
from search.sampler import DRAWN, Past, Sampler, Suggester
from search.told import slug, varied
from search.tuning import ComparisonPlan
from trainer.config import Flat, TrialConfig
from trainer.dataset import Header
from trainer.resolve import resolve


class Supply:
    """Where the trials of one search come from, and who learns how they fare.

    Args:
        sampler: what suggests a search's trials; none = as the experiment says.
        rows: of the search so far, and `curves` their validation accuracies, epoch by epoch, by trial.
        trials_folder: of the trials' folders.
    """

    def __init__(
        self,
        store: Store,
        search_id: str,
        experiment: Experiment,
        *,
        sampler: Suggester | None,
        startup_trials: int,
        header: Header | None,
        on_gpu: bool,
        trials_folder: Path,
        rows: Sequence[TrialRow],
        curves: Mapping[str, Sequence[float | None]],
    ) -> None:
        self._store, self._search_id, self._experiment = store, search_id, experiment
        self._header, self._on_gpu, self._trials_folder = header, on_gpu, trials_folder
        self._exhausted = False
        self._resolved: tuple[Flat, TrialConfig] | None = None
        """What was resolved last: a point that the sampler was told to accept is the one that is then inserted."""
        self.refusals: list[str] = []
        """Why points of the space, which the sampler asked for since this was last emptied, cannot be trained."""
        self.sampler = sampler
        if sampler is None and not experiment.is_comparison:
            self.sampler = Sampler(experiment, startup_trials, self._accepts)
        self.sampler_is_exact = True
        """Whether the sampler will ask what it would have asked, had nothing been interrupted."""
        if self.sampler is None:
            self._plan = ComparisonPlan(experiment, self._resolve, rows)
        else:
            self.sampler_is_exact = self.sampler.take_up([self._past(row, curves.get(row.id, ())) for row in rows])
            self.refusals.clear()  # they were told when they were first asked for

    def planned(self, begun: int) -> int:
        """Trials that the search has when it ends; so many are begun."""
        if self._experiment.is_comparison:
            return self._plan.total
        return max(begun, self._experiment.trials) if not self._exhausted else begun

    def has_new(self, begun: int) -> bool:
        """Whether there are more trials than those so many."""
        if self._experiment.is_comparison:
            return self._plan.has_new
        return not self._exhausted and begun < self._experiment.trials

    def new(self, number: int) -> TrialRow | None:
        """Trial `number`, in the store before a worker hears of it; none where nothing is left, or for now."""
        if not self.has_new(number - 1):
            return None
        if self.sampler is None:
            config = self._plan.pop()
            return self._insert(number, config, self._plan.marks(config)) if config is not None else None
        flat = self.sampler.ask(number)
        if flat is None:
            self._exhausted = True
            return None
        return self._insert(number, self._resolve(flat), drawn=self.sampler.drawn(number))

    def reported(self, row: TrialRow, epoch: int, value: float | None) -> None:
        """A trial has come so far, with this validation accuracy."""
        if self.sampler is not None and value is not None and math.isfinite(value):
            self.sampler.report(row.number, epoch, value)

    def ended(self, row: TrialRow) -> None:
        """A trial has ended, whatever the reason, which may let others of a comparison start."""
        if self.sampler is None:
            self._plan.learn(row)
        else:
            self.sampler.tell(row.number, row.status, self._objectives(row))

    def _resolve(self, flat: Flat) -> TrialConfig:
        if self._header is None:
            return TrialConfig.from_flat(flat)
        if self._resolved is None or self._resolved[0] is not flat:
            self._resolved = flat, resolve(flat, on_gpu=self._on_gpu, header=self._header)
        return self._resolved[1]

    def _accepts(self, flat: Flat) -> bool:
        try:
            self._resolve(flat)
        except InputError as error:
            self.refusals.append(str(error))
            return False
        return True

    def _insert(
        self,
        number: int,
        config: TrialConfig,
        marks: Mapping[str, Any] | None = None,
        drawn: Mapping[str, Any] | None = None,
    ) -> TrialRow:
        """The row, with `marks` and what a sampler drew in its provenance: a resume recalls the trial by that."""
        flat = config.to_flat()
        measured = LATENCY in self._experiment.objectives and self._header is not None  # a simulation measures nothing
        words = slug(flat, [*(drawn or ()), *varied(self._experiment)])
        trial_id = self._store.add_trial(
            self._search_id,
            number,
            flat,
            **asdict(price(config.model)),
            latency_seconds=latency_of(self._store, config) if measured else None,
            provenance={
                "folder": str(self._trials_folder / f"{number:03d}-{words}"),
                **(marks or {}),
                **({} if drawn is None else {DRAWN: dict(drawn)}),
            },
        )
        return self._store.trial(trial_id)

    def _objectives(self, row: TrialRow) -> list[float | None]:
        return [getattr(row, name) for name in self._experiment.objectives]

    def _past(self, row: TrialRow, curve: Sequence[float | None]) -> Past:
        return Past(
            number=row.number,
            config=row.config,
            curve=curve,
            asked=row.created,
            ended=row.ended if row.status in ENDED else None,
            status=row.status,
            values=self._objectives(row),
            drawn=row.provenance.get(DRAWN),
        )
