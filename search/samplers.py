"""Optuna's samplers by name: five short names with settings that suit a search, any other by the name of its class.

- `tpe`: multivariate and grouped, so that keys of one feed-forward kind are modelled together; counts running trials as bad;
  models the last 200 trials and the best 25 before them.
- `random`: every key by chance.
- `gp`: a Gaussian process over the keys that all finished trials share; a kind's own keys are drawn by chance.
- `nsgaii`: an evolution of the same keys, made for two objectives. Its populations are of finished trials only.
- `grid`: `GRID_POINTS` values of each range, every combination once, in a random order.

Under `tpe` and `random` an ask takes as long, and a driver needs as much memory, whether the search has a thousand trials or
ten thousand; all others keep every trial, and most of them model every one.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from results.errors import InputError
from search.experiment import one_of
from search.window import Window

NAMES = ("tpe", "random", "gp", "nsgaii", "grid")
MEMORYLESS = frozenset({"tpe", "random", "gp"})
"""These ask by what the study knows of each trial and by a seed, and by nothing else: seeded anew for each ask, they go on
from a study that was only filled in. The others keep notes of their own (generations, a tree, a generator that runs on), so
they are asked everything again, in the order of the store."""
WINDOWED = frozenset({"tpe", "random"})
"""These look at a window of the study at most, so that what is out of it can be forgotten."""
GRID_POINTS = 5


class _Tpe(optuna.samplers.TPESampler):
    """Optuna's with three changes; made for one ask.

    Its model is of a window, so that the ten thousandth ask takes little longer than the three-hundredth (Optuna's takes
    time in proportion to the trials). Keys that go together are drawn when the first of them is asked for: Optuna's draws
    those of every feed-forward kind for each trial, which has one. Of a running trial it counts the keys that the trial
    has, as of one that has ended: Optuna's counts what was drawn for other kinds on the same occasion, too, which a study
    that was filled in cannot know.
    """

    _seen: Any = None

    def _window(self, study: Any) -> Any:
        self._seen = self._seen or Window.of(study)
        return self._seen

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._space = super().infer_relative_search_space(self._window(study).one_of_each_sort(), trial)
        self._drawn: dict[str, Any] = {}
        return {}  # so that every key comes to `sample_independent`

    def sample_independent(self, study: Any, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        window = self._window(study)
        if self._space.get(name) == distribution:
            if name not in self._drawn:
                self._drawn.update(self._sample_relative(window, trial, self._group_of(name)))
            if name in self._drawn:
                return self._drawn[name]
        return super().sample_independent(window, trial, name, distribution)

    def _group_of(self, name: str) -> dict[str, BaseDistribution]:
        """The keys that are modelled together with this one: those that the same trials have."""
        groups = self._search_space_group.search_spaces if self._search_space_group is not None else []
        group = next(group for group in groups if name in group)
        return {key: self._space[key] for key in sorted(group) if key in self._space}

    def _get_params(self, trial: FrozenTrial, study: Any) -> dict[str, Any]:
        return trial.params


class _Grid(optuna.samplers.BruteForceSampler):
    """Every combination once. Optuna's would end Optuna's own loop after the last, which is not there under ask and tell."""

    def after_trial(self, *told: object) -> None:
        return None


def build_sampler(name: str, seed: int, startup_trials: int) -> BaseSampler:
    """A sampler that has asked for nothing yet.

    Args:
        startup_trials: trials that are drawn by chance before a model of the results is made; half of a population.
    Raises:
        InputError: no such sampler, or one that needs settings of its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "tpe":  # the group is needed by conditional spaces
                return _Tpe(
                    seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True, constant_liar=True
                )
            case "gp":
                return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup_trials)
            case "nsgaii":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=2 * startup_trials)
            case "grid":
                return _Grid(seed=seed)
        return _by_class(name)(seed=seed)  # type: ignore[call-arg]  # checked there


def limits(name: str) -> str | None:
    """A sentence about what a sampler leaves to chance; none where it leaves nothing that it could model."""
    if name in ("tpe", "random", "grid", "TPESampler", "RandomSampler", "BruteForceSampler"):
        return None
    return (
        f"Note: {name} models the keys that all trials share; keys that only one feed-forward kind has are drawn by chance "
        "(tpe models those, too)."
    )


def _by_class(name: str) -> type[BaseSampler]:
    found = getattr(optuna.samplers, name, None)
    if not (inspect.isclass(found) and issubclass(found, BaseSampler)) or inspect.isabstract(found):
        raise InputError(one_of("sampler", name, (*NAMES, *_classes())))
    if name not in _classes():
        raise InputError(
            f"The sampler {name!r} needs settings that only code can give; known: {', '.join((*NAMES, *_classes()))}."
        )
    return found


def _classes() -> list[str]:
    """Optuna's samplers that can be made from a seed alone."""
    found = []
    for name in optuna.samplers.__all__:
        parameters = inspect.signature(getattr(optuna.samplers, name)).parameters if name[0].isupper() else {}
        needed = [p for p in parameters.values() if p.default is p.empty]
        if "seed" in parameters and not needed:
            found.append(name)
    return found
