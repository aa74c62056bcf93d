"""The trials of a comparison in the order in which they may start: rates are tuned first where that was asked for.

With `tune_lr` each variant trains once for each factor of its own learning rate, with a seed that never counts and on the
same data, batch and epochs as all. The rate of the highest validation accuracy at the last epoch (of equals the lowest) is
then trained with every seed that counts. Both stages are rows of one search, and what may start follows from those rows
alone, so a search that was killed at any moment goes on as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from arch_space.flat import FieldError, convert
from results.errors import InputError
from results.ids import variant_hash
from results.rows import TrialRow
from results.store import ENDED
from results.tuned import COMPLETE, GIVEN, LR_TUNING
from search.experiment import TUNING_SEED, Experiment, compose
from trainer.config import Flat, TrialConfig

FACTORS = (0.5, 1.0, 2.0, 4.0)
"""Of each variant's own rate, where nothing else is asked for: a given rate is more often too low than too high."""


def tuning_plan(experiment: Experiment) -> list[Flat]:
    """The trials that tune the rates, rate by rate, so that what has run at any moment compares; none without `tune_lr`."""
    flats = _flats(experiment)
    return [{**flat, "lr": _rate(flat) * factor} for factor in experiment.tune_lr for flat in flats]


def require_rates_of_their_own(experiment: Experiment, planned: Sequence[TrialConfig]) -> None:
    """Raises InputError for two variants that differ in their learning rate alone: tuned, they would be one.

    Args:
        planned: the trials of `tuning_plan`, complete, so that 0 and 0.0 are equal, and what is given at its default; others
            may follow.
    """
    if not experiment.tune_lr:
        return
    variants = [replace(config, lr=1.0) for config in planned[: len(experiment.grid or ())]]
    if any(variant in variants[:place] for place, variant in enumerate(variants)):
        raise InputError(
            f"Two variants of {experiment.name!r} differ in their learning rate alone, so --tune-lr would make them one; "
            "leave --tune-lr out, or list the variant once."
        )


def in_numbers(experiment: Experiment) -> str:
    """`2 variants x 3 seeds`, or `2 variants x (4 rates + 3 seeds)`."""
    seeds = f"{len(experiment.seeds)} seeds"
    each = f"({len(experiment.tune_lr)} rates + {seeds})" if experiment.tune_lr else seeds
    return f"{len(experiment.grid or ())} variants x {each}"


def parse_factors(text: str) -> tuple[float, ...]:
    """`0.5,1,2` as numbers, ascending.

    Raises:
        InputError: not two or more different numbers above 0.
    """
    try:
        factors = sorted({float(part) for part in text.split(",")})
    except ValueError:
        factors = []
    if len(factors) < 2 or len(factors) != text.count(",") + 1 or not 0 < factors[0] <= factors[-1] < math.inf:
        raise InputError(
            f'"--lr-factors" must be two or more different numbers above 0, such as 0.5,1,2,4, but got {text!r}.'
        )
    return tuple(factors)


def _flats(experiment: Experiment) -> list[Flat]:
    base = {**experiment.base, **experiment.fixed}
    return [compose(base, variant, TUNING_SEED) for variant in experiment.grid or ()]


def _rate(flat: Flat) -> float:
    try:
        return float(convert(float, flat.get("lr", TrialConfig().lr), "lr"))  # text from --set is converted
    except FieldError as error:
        raise InputError(str(error)) from error


class ComparisonPlan:
    """Which trials a comparison has, and which of them may start now.

    Args:
        resolve: the complete trial of a dictionary.
        rows: all trials of the search that the store has.
    """

    def __init__(
        self, experiment: Experiment, resolve: Callable[[Flat], TrialConfig], rows: Iterable[TrialRow]
    ) -> None:
        self._seeds = experiment.seeds
        self._variants = [resolve(flat) for flat in _flats(experiment)]
        self._factors = experiment.tune_lr
        self._known: dict[tuple[tuple[str, Any], ...], TrialRow | None] = {_identity(row.config): row for row in rows}
        self._ready: list[TrialConfig] = []
        self._find_ready()

    @property
    def total(self) -> int:
        """Trials that the search has when it ends."""
        return len(self._variants) * (len(self._factors) + len(self._seeds))

    @property
    def has_new(self) -> bool:
        """Whether a trial may start now. More will when those that tune a rate have ended, which may be paused for ever."""
        return bool(self._ready)

    def pop(self) -> TrialConfig | None:
        """The next trial; none while all that may start have been given out."""
        if not self._ready:
            return None
        config = self._ready.pop(0)
        self._known[_identity(config.to_flat())] = None
        return config

    def learn(self, row: TrialRow) -> None:
        """A trial has ended: the last one that tuned a variant's rate lets its seeds start."""
        self._known[_identity(row.config)] = row
        if LR_TUNING in row.provenance:
            self._find_ready()

    def marks(self, config: TrialConfig) -> dict[str, Any]:
        """What a trial's provenance says where rates are tuned: its variant as given; and that it tunes, so never counts."""
        if not self._factors:
            return {}
        # no two variants differ in their rate alone
        (given,) = [each for each in self._variants if replace(config, lr=each.lr, seed=each.seed) == each]
        marks: dict[str, Any] = {GIVEN: variant_hash(given.to_flat())}
        return marks if config.seed != TUNING_SEED else {**marks, LR_TUNING: config.lr}

    def _find_ready(self) -> None:
        tuning = [replace(variant, lr=variant.lr * factor) for factor in self._factors for variant in self._variants]
        tuned = [self._tuned(variant) for variant in self._variants]
        counted = [replace(config, seed=seed) for seed in self._seeds for config in tuned if config is not None]
        self._ready = [config for config in (*tuning, *counted) if _identity(config.to_flat()) not in self._known]

    def _tuned(self, variant: TrialConfig) -> TrialConfig | None:
        """The variant at its best rate; none while a rate is untried, and as it was given where no rate came to its end."""
        tried = [replace(variant, lr=variant.lr * factor) for factor in self._factors]
        rows = [self._known.get(_identity(config.to_flat())) for config in tried]
        if any(row is None or row.status not in ENDED for row in rows):
            return None
        return _best(tried, rows) or variant


def _best(tried: Sequence[TrialConfig], rows: Sequence[TrialRow | None]) -> TrialConfig | None:
    found = [
        (row.val_acc, -config.lr, config)
        for config, row in zip(tried, rows, strict=True)
        if row is not None and row.status in COMPLETE and row.val_acc is not None
    ]
    return max(found, key=lambda each: each[:2])[2] if found else None


def _identity(config: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(config.items(), key=lambda item: item[0]))
