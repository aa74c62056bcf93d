"""Variants from Optuna by ask and tell, reproducible after any interruption.

Ray's own `OptunaSearch` reports a trial that ASHA stopped as complete, with the value of its last epoch, so the sampler
would rank early scores beside finished ones. Here a stopped trial is told as pruned with its intermediate values, a
diverged one as failed.

A sampler is seeded anew for each ask, by (search seed, trial number). It then depends only on what the study knows, not
on how long the process has lived, and a study rebuilt from the store asks the same questions again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping

import optuna

from results.errors import InputError
from search.catalog import said
from search.experiment import Experiment, compose
from search.space import StudyScope
from trainer.config import Flat, FlatValue

optuna.logging.set_verbosity(optuna.logging.WARNING)

SAMPLERS = ("tpe", "random")
ATTEMPTS = 30
"""Asks after which a space that only repeats itself counts as used up; the last two thirds are drawn at random."""


class Sampler:
    """The Optuna study of one search. Numbers are the store's trial numbers, from 1.

    Raises:
        InputError: an unknown sampler; a fixed key that the space cannot take; a space that raises something itself.
    """

    def __init__(self, experiment: Experiment, startup_trials: int) -> None:
        if experiment.sampler not in SAMPLERS:
            raise InputError(f"Unknown sampler {experiment.sampler!r}; known: {', '.join(SAMPLERS)}.")
        self._experiment, self._startup = experiment, startup_trials
        self.study = optuna.create_study(direction="maximize", sampler=self._seeded(0, 0))
        self._trials: dict[int, optuna.Trial] = {}
        self._told: set[int] = set()
        self._variants: set[tuple[tuple[str, FlatValue], ...]] = set()

    def ask(self, number: int) -> Flat | None:
        """The flat dictionary of trial `number`; none where the space has no variant left that was not tried."""
        for attempt in range(ATTEMPTS):
            self.study.sampler = self._seeded(number, attempt)
            trial = self.study.ask()
            flat = self._compose(trial)
            variant = tuple(sorted(flat.items()))
            if variant not in self._variants:
                self._variants.add(variant)
                self._trials[number] = trial
                return flat
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)  # known already; samplers pass over failures
        return None

    def recall(self, number: int, config: Mapping[str, FlatValue]) -> None:
        """Take in a trial of the store as if it had just been asked for. Call in the order of numbers.

        Raises:
            InputError: the space no longer asks for what this trial holds.
        """
        self.study.enqueue_trial({key: value for key, value in config.items() if value is not None})
        trial = self.study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna only warns of a value outside its range; we refuse it below
            flat = self._compose(trial)
        changed = sorted(
            key
            for key, distribution in trial.distributions.items()
            if config.get(key) != trial.params[key] or not _holds(distribution, trial.params[key])
        )
        if changed:
            raise InputError(
                f"The space of {self._experiment.name!r} has changed since trial {number} was sampled "
                f"({', '.join(changed)}); give the changed experiment another name and start a new search."
            )
        self._variants.add(tuple(sorted(flat.items())))
        self._trials[number] = trial

    def report(self, number: int, epoch: int, value: float) -> None:
        """An intermediate value of a running trial."""
        self._trials[number].report(value, epoch)

    def tell(self, number: int, status: str, value: float | None) -> None:
        """The end of a trial, as the store has it; telling twice changes nothing."""
        if number in self._told or number not in self._trials:
            return
        self._told.add(number)
        state = {
            "finished": optuna.trial.TrialState.COMPLETE,
            "plateau": optuna.trial.TrialState.COMPLETE,
            "stopped": optuna.trial.TrialState.PRUNED,
        }.get(status, optuna.trial.TrialState.FAIL)
        complete = state is optuna.trial.TrialState.COMPLETE
        self.study.tell(self._trials[number], value if complete else None, state=state)

    def _compose(self, trial: optuna.trial.BaseTrial) -> Flat:
        experiment = self._experiment
        assert experiment.space is not None
        try:
            sampled = experiment.space(StudyScope(trial, experiment.ranges, experiment.fixed))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The space of {experiment.name!r} must return keys, but raised {said(error)}") from error
        if not isinstance(sampled, Mapping):
            raise InputError(
                f"The space of {experiment.name!r} must return a dictionary of keys, but returned "
                f"{type(sampled).__name__}."
            )
        return compose({**experiment.base, **experiment.fixed}, sampled, experiment.seeds[0])

    def _seeded(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        text = f"{self._experiment.search_seed} {number} {attempt}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        if self._experiment.sampler == "random" or attempt >= ATTEMPTS // 3:
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", optuna.exceptions.ExperimentalWarning
            )  # group, needed by conditional spaces
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=self._startup, multivariate=True, group=True, constant_liar=True
            )

    def described(self) -> dict[str, str]:
        """Every key that a few hundred asks met, with its range or choices in words."""
        words: dict[str, str] = {}
        for number in range(1, 201):
            if self.ask(number) is None:
                break
            for key, distribution in self._trials[number].distributions.items():
                words[key] = _in_words(distribution)
        return dict(sorted(words.items()))


def _in_words(distribution: optuna.distributions.BaseDistribution) -> str:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    if isinstance(distribution, (optuna.distributions.IntDistribution, optuna.distributions.FloatDistribution)):
        step = f", step {distribution.step}" if distribution.step not in (None, 1) else ""
        return f"{distribution.low:g} to {distribution.high:g}{', logarithmic' if distribution.log else ''}{step}"
    return str(distribution)


def _holds(distribution: optuna.distributions.BaseDistribution, value: FlatValue) -> bool:
    if isinstance(distribution, (optuna.distributions.IntDistribution, optuna.distributions.FloatDistribution)):
        return isinstance(value, (int, float)) and distribution.low <= value <= distribution.high
    return isinstance(distribution, optuna.distributions.CategoricalDistribution) and value in distribution.choices
