"""Variants from Optuna by ask and tell, reproducible after any interruption.

Ray's own `OptunaSearch` reports a trial that ASHA stopped as complete, with the value of its last epoch, so the sampler
would rank early scores beside finished ones. Here a stopped trial is told as pruned with its intermediate values, a
diverged one as failed.

A study that is rebuilt from the store asks what the one that died would have asked (`take_up`). Where a sampler has no
memory beside the study, it is seeded anew for each ask, by (search seed, trial number), and the study is filled in. Any
other sampler is seeded once, and asked again for every trial; the store knows when each was asked for and when it ended.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState

from results.errors import InputError
from search import finite
from search.catalog import said
from search.experiment import Experiment, compose
from search.known import Known
from search.samplers import GRID_POINTS, MEMORYLESS, WINDOWED, build_sampler
from search.space import StudyScope
from search.window import MODELLED, MODELLED_BEST, without_the_forgotten
from trainer.config import Flat, FlatValue

optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it warns of at every key, `samplers.limits` says once

DRAWN = "drawn"
"""In a trial's provenance: what the space drew for it, by name."""
ATTEMPTS = 30
"""Asks after which a space that only repeats itself is walked, where it is small, or else counts as used up; the last two
thirds are drawn at random."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What the store knows of a trial that was asked for before."""

    number: int
    config: Mapping[str, FlatValue]
    curve: Sequence[float | None]
    """Validation accuracy at each epoch."""
    asked: datetime
    ended: datetime | None
    """None while it may still go on."""
    status: str
    values: Sequence[float | None]
    """One for each objective."""
    drawn: Mapping[str, Any] | None = None
    """What the space drew for it; none of a row from before that was kept, whose dictionary must do."""

    @property
    def point(self) -> Mapping[str, Any]:
        return point_of(self.config, self.drawn)


def point_of(config: Mapping[str, Any], drawn: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The point of the space that a trial is: what was drawn, or else its dictionary, where it is of drawn keys alone."""
    return drawn if drawn is not None else {key: value for key, value in config.items() if value is not None}


class Suggester(Protocol):
    """What a session asks for trials, and tells of them; `Sampler` says more."""

    def ask(self, number: int) -> Flat | None: ...

    def drawn(self, number: int) -> dict[str, Any]: ...

    def report(self, number: int, epoch: int, value: float) -> None: ...

    def tell(self, number: int, status: str, values: Sequence[float | None]) -> None: ...

    def take_up(self, past: Sequence[Past]) -> bool: ...


class Sampler:
    """The Optuna study of one search. Numbers are the store's trial numbers, from 1.

    Args:
        accepts: whether a point of the space can be trained. One that cannot fails at once, and another is asked for.
    Raises:
        InputError: an unknown sampler; a fixed key that the space cannot take; a space that raises something itself.
    """

    def __init__(
        self, experiment: Experiment, startup_trials: int, accepts: Callable[[Flat], bool] = lambda flat: True
    ) -> None:
        self._experiment, self._startup, self._accepts = experiment, startup_trials, accepts
        self._own = build_sampler(experiment.sampler, self._seed(0, 0), startup_trials)
        self._room = 2 * MODELLED + MODELLED_BEST
        """Trials that the study may have before it is made anew."""
        self._memoryless = experiment.sampler in MEMORYLESS
        high, low = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        directions = [high, *[low] * (len(experiment.objectives) - 1)]
        self.study = optuna.create_study(directions=directions, sampler=self._own)
        self._running: dict[int, optuna.Trial] = {}
        self._variants: set[int] = set()
        self.all_tried = False
        """Whether nothing is left because every point of the space was met; else, draws have only found none."""
        for known in experiment.known:
            self._know(known)

    def ask(self, number: int) -> Flat | None:
        """The flat dictionary of trial `number`; none where the space has no variant left, or none that draws can find."""
        self._forget()
        for attempt in range(ATTEMPTS):
            self.study.sampler = self._for(number, attempt)
            trial = self.study.ask()
            flat = self._compose(trial)
            variant = _digest(flat)
            if variant not in self._variants:
                self._variants.add(variant)
                if self._accepts(flat):
                    self._running[number] = trial
                    return flat
            self._tell(trial, TrialState.FAIL)  # known already, or refused; samplers pass over failures
        return self._walked(number)

    def _walked(self, number: int) -> Flat | None:
        """The first variant of a small space that was not met: it follows from those that were, so after a resume, too."""
        for variant, point in self._points or ():
            if variant not in self._variants:
                self._variants.add(variant)
                self.study.enqueue_trial(point)
                trial = self.study.ask()
                flat = self._compose(trial)
                if self._accepts(flat):
                    self._running[number] = trial
                    return flat
                self._tell(trial, TrialState.FAIL)
        self.all_tried = self._points is not None
        return None

    @cached_property
    def _points(self) -> list[tuple[int, dict[str, Any]]] | None:
        """Every variant of a small space, by its digest, and what it draws."""
        found = finite.points(self._compose)
        return None if found is None else [(_digest(flat), drawn) for drawn, flat in found]

    def drawn(self, number: int) -> dict[str, Any]:
        """What the space drew for trial `number`, which was asked for and has not ended, by the names that it drew under."""
        return dict(self._running[number].params)

    def place(self, point: Mapping[str, Any]) -> tuple[optuna.trial.FixedTrial, Flat] | None:
        """What was drawn elsewhere, as a trial and as what this space makes of it; none where it is no point of it."""
        trial = optuna.trial.FixedTrial(dict(point))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a value outside its range
                flat = self._compose(trial)
        except InputError:  # it asks for a key that is not there, or offers other choices
            return None
        return None if _differing(trial, point) else (trial, flat)

    def _know(self, known: Known) -> None:
        """Add an earlier search's result to the study.

        Raises:
            InputError: it is no point of the space, which was another one when the search began.
        """
        found = self.place(point_of(known.config, known.drawn))
        if found is None:
            raise InputError(
                f"The space of {self._experiment.name!r} has changed since it was warm-started: {known.trial} is no point "
                "of it any more; give the changed experiment another name and start a new search."
            )
        trial, flat = found
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                params=trial.params,
                distributions=trial.distributions,
                values=list(known.values),
            )
        )
        if not self._experiment.train_known:
            self._variants.add(_digest(flat))

    def recall(self, number: int, point: Mapping[str, Any]) -> None:
        """Take in a trial of the store as if it had just been asked for. Call in the order of numbers.

        Args:
            point: what was drawn for it (`point_of`).
        Raises:
            InputError: the space no longer asks for what this trial holds.
        """
        self._forget()
        self.study.enqueue_trial(dict(point))
        trial = self.study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna only warns of a value outside its range; we refuse it below
            flat = self._compose(trial)
        changed = _differing(trial, point)
        if changed:
            self._tell(trial, TrialState.FAIL)
            raise InputError(
                f"The space of {self._experiment.name!r} has changed since trial {number} was sampled "
                f"({', '.join(changed)}); give the changed experiment another name and start a new search."
            )
        self._variants.add(_digest(flat))
        self._running[number] = trial

    def take_up(self, past: Sequence[Past]) -> bool:
        """Bring a study that has asked for nothing to where it was, from the trials of the store in their numbers' order.

        Returns:
            Whether it is there exactly. Not so where a sampler, asked again, asked for something else, as one of another
            version of Optuna may; then it knows the trials, and goes on from there. Nor where the space has changed (which
            a resume accepts only when told): then it knows those trials that the space still holds.
        """
        exact = True
        if self._memoryless:
            for each in past:
                exact = self._takes(each) and exact
                self._hear(each)
            return exact
        asks = [(each.asked, 0, each) for each in past]
        ends = [(each.ended, 1, each) for each in past if each.ended is not None]
        for _, is_end, each in sorted(asks + ends, key=lambda event: (event[0], event[1], event[2].number)):
            if is_end:
                self._hear(each)
            elif not self._asks_again(each):
                self._takes(each)
                exact = False
        return exact

    def _takes(self, past: Past) -> bool:
        """Recall a trial; whether it is a point of the space. If not, the study does without it."""
        try:
            self.recall(past.number, past.point)
        except InputError:
            return False
        return True

    def _asks_again(self, past: Past) -> bool:
        """Ask for a trial of the past; whether that gave what it gave then. If not, it is as if nobody had asked."""
        flat = self.ask(past.number)
        if flat is None:
            return False
        if not _differing(self._running[past.number], past.point):
            return True
        self._tell(self._running.pop(past.number), TrialState.FAIL)
        self._variants.discard(_digest(flat))
        return False

    def _hear(self, past: Past) -> None:
        for epoch, value in enumerate(past.curve, start=1):
            if value is not None:
                self.report(past.number, epoch, value)
        if past.ended is not None:
            self.tell(past.number, past.status, past.values)

    def report(self, number: int, epoch: int, value: float) -> None:
        """An intermediate value of a running trial. Optuna takes none where there are two objectives."""
        if len(self._experiment.objectives) == 1 and number in self._running:
            self._running[number].report(value, epoch)

    def tell(self, number: int, status: str, values: Sequence[float | None]) -> None:
        """The end of a trial, as the store has it, with a value for each objective; telling twice changes nothing."""
        trial = self._running.pop(number, None)
        if trial is None:
            return
        state = {
            "finished": TrialState.COMPLETE,
            "plateau": TrialState.COMPLETE,
            "stopped": TrialState.PRUNED,
        }.get(status, TrialState.FAIL)
        known = [value for value in values if value is not None]
        if state is TrialState.COMPLETE and len(known) == len(values):
            self._tell(trial, state, known)
        else:
            self._tell(trial, TrialState.FAIL if state is TrialState.COMPLETE else state)

    def _tell(self, trial: optuna.Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        try:
            self.study.tell(trial, values, state=state)
        except RuntimeError as error:
            if "Study.stop" not in str(error):  # how a sampler says that it has tried everything; `ask` finds that out
                raise

    def _compose(self, trial: optuna.trial.BaseTrial) -> Flat:
        experiment = self._experiment
        assert experiment.space is not None
        points = GRID_POINTS if experiment.sampler == "grid" else None
        try:
            scope = StudyScope(trial, experiment.ranges, experiment.fixed, points)
            sampled = experiment.space(scope)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The space of {experiment.name!r} must return keys, but raised {said(error)}") from error
        if not isinstance(sampled, Mapping):
            raise InputError(
                f"The space of {experiment.name!r} must return a dictionary of keys, but returned "
                f"{type(sampled).__name__}."
            )
        fixed = experiment.fixed
        constant = sampled.keys() - scope.given  # what the space did not ask for
        chosen = {key: fixed.get(key, value) if key in constant else value for key, value in sampled.items()}
        return compose({**experiment.base, **fixed}, chosen, experiment.seeds[0])

    def _forget(self) -> None:
        """Now and then, let go of the trials that the sampler will never look at again."""
        if self._experiment.sampler in WINDOWED and len(self.study._get_trials(deepcopy=False)) >= self._room:
            self.study, self._running = without_the_forgotten(self.study, self._own, self._running)
            self._room = len(self.study._get_trials(deepcopy=False)) + MODELLED

    def _for(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        """The sampler of one attempt."""
        if attempt >= ATTEMPTS // 3:
            return build_sampler("random", self._seed(number, attempt), self._startup)
        if self._memoryless:
            return build_sampler(self._experiment.sampler, self._seed(number, attempt), self._startup)
        return self._own

    def _seed(self, number: int, attempt: int) -> int:
        text = f"{self._experiment.search_seed} {number} {attempt}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")

    def described(self) -> dict[str, str]:
        """Every key that a few hundred asks met, with its range or choices in words."""
        return {key: _in_words(distribution) for key, distribution in self.distributions().items()}

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """Every key that a few hundred asks met, in the order of the alphabet."""
        found: dict[str, optuna.distributions.BaseDistribution] = {}
        for number in range(1, 201):
            if self.ask(number) is None:
                break
            found.update(self._running[number].distributions)
        return dict(sorted(found.items()))


def described_space(experiment: Experiment) -> dict[str, str]:
    """Each key that a search samples, with its range or values in words, found by sampling the space."""
    return Sampler(replace(experiment, sampler="random"), 1).described()


def _digest(flat: Mapping[str, FlatValue]) -> int:
    """What is kept of a variant that was tried, in 64 bits; numbers that are equal, as 1 and 1.0, are the same."""
    plain = [(key, float(value) if isinstance(value, (int, float)) else value) for key, value in sorted(flat.items())]
    return int.from_bytes(hashlib.sha256(repr(plain).encode()).digest()[:8], "big")


def _differing(trial: optuna.trial.BaseTrial, point: Mapping[str, Any]) -> list[str]:
    """The keys that a trial was asked for and that are not in `point`, or not with that value, or out of their range."""
    return sorted(
        key
        for key, distribution in trial.distributions.items()
        if key not in point or point[key] != trial.params[key] or not _holds(distribution, trial.params[key])
    )


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
