"""What `tpe` looks at of a study: the last trials and the best ones before them. The rest of a long study can be forgotten.

So neither the time of an ask nor the memory of a driver grows with the length of a search. What a model sees follows from
the trials and their order alone: a study that was rebuilt from the store shows it the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, Self

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

MODELLED, MODELLED_BEST = 200, 25
"""The last trials that `tpe` models, and the best ones of all before: as many as its good part ever holds (gamma)."""
_COUNTED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING})


class Window:
    """A study of which a model sees the last `MODELLED` trials, and the best `MODELLED_BEST` before them.

    Looked up once, so good for one ask. Trials that failed do not count.
    """

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    @classmethod
    def of(cls, study: optuna.Study, spare: int = 0) -> Self:
        """`spare`: how many more of the last trials are wanted."""
        last = MODELLED + spare
        trials = [trial for trial in study._get_trials(deepcopy=False, use_cache=True) if trial.state in _COUNTED]
        older: list[FrozenTrial] = []
        if len(study.directions) == 1 and len(trials) > last:
            complete = (trial for trial in trials[:-last] if trial.state is TrialState.COMPLETE)
            older = heapq.nlargest(MODELLED_BEST, complete, key=lambda trial: trial.value or 0.0)
            older.sort(key=lambda trial: trial.number)
        return cls(study, older + trials[-last:])

    def one_of_each_sort(self) -> Window:
        """The last trial of those that have the same keys: they tell as well as all which keys go together."""
        sorts = {tuple(trial.distributions): trial for trial in self._trials if trial.state is not TrialState.RUNNING}
        return Window(self._study, list(sorts.values()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


def without_the_forgotten(
    study: optuna.Study, sampler: BaseSampler, running: Mapping[int, optuna.Trial]
) -> tuple[optuna.Study, dict[int, optuna.Trial]]:
    """The study made anew of its running trials and of what a window shows; and the running trials of the new one.

    A window of the new study will always show what one of the old would have. As trials come, the last ones move on, and a
    trial that is not among the best of all older ones never becomes one of them again. A running trial that fails counts
    no more, which lets a window reach back by one, so as many more of the last trials are kept as run.

    Args:
        sampler: of the new study.
        running: by any number; those that come back have the same.
    """
    kept = {trial.number: trial for trial in Window.of(study, spare=len(running))._get_trials()}
    kept |= {trial.number: study._storage.get_trial(trial._trial_id) for trial in running.values()}
    anew = optuna.create_study(directions=study.directions, sampler=sampler)
    places = {}
    for place, number in enumerate(sorted(kept)):
        anew.add_trial(kept[number])
        places[number] = place
    ids = [trial._trial_id for trial in anew._get_trials(deepcopy=False)]
    return anew, {number: optuna.Trial(anew, ids[places[trial.number]]) for number, trial in running.items()}
