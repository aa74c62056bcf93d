"""What an experiment is: a question, and everything that answering it takes.

An experiment is a function without arguments in a file of the same name, which returns a complete value:

    def quickstart() -> Experiment:
        '''Which feed-forward part reads digits best: dense, pairs of dense, or trees of neurons?'''
        return Experiment(base={"data": "digits", "epochs": 8}, space=space, trials=12)

Its docstring is its question. Kinds are listed, not taken from the registry, so that an old experiment does not change
when a file is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from arch_space.flat import FieldError, convert
from arch_space.space import Scope
from results.errors import InputError
from search.known import Known
from search.match import Match
from search.schedulers import SCHEDULERS, build_scheduler
from search.verdict import Scheduler
from trainer.config import Flat, FlatValue

Range = tuple[float, float]
TUNING_SEED = 2**31 - 1
"""The training seed of the trials that tune a learning rate; it never counts."""
COSTS = ("parameters", "neurons_used", "macs", "macs_conditional", "latency_seconds")
"""What can be a second objective: columns of a trial that are known before it trains."""
EXAMPLES = {"sampler": '"tpe" or "random"', "scheduler": '"asha", or "none"'}
GIVEN = (
    "base", "grid", "fixed", "ranges", "seeds", "tune_lr", "baseline", "trials", "grace", "reduction", "search_seed",
    "concurrency", "threads",
)  # fmt: skip
"""Fields that are kept as JSON, so that they take no numpy scalar."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Either a search (`space`, sampled `trials` times, weak ones stopped) or a comparison (`grid`, all trained).

    Raises:
        InputError: a budget out of range, or neither or both of `space` and `grid`.
    """

    base: Flat = field(default_factory=dict)
    """Keys that every trial has."""
    space: Callable[[Scope], Flat] | None = None
    """A search: the keys that are sampled, each variant trained with one seed, a scheduler stopping the weak ones."""
    grid: Sequence[Flat] | None = None
    """A comparison: the keys in which each variant differs; each is trained with every seed, none is stopped."""
    match: Match | Sequence[Match] | None = None
    """What a comparison's variants must have in common: their free widths are solved for it. With several, the grid is
    solved for each, and each has its own ranking in the table."""
    fixed: Mapping[str, FlatValue] = field(default_factory=dict)
    """Keys that `--set` fixes for every trial, over what the space would suggest."""
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Narrower ranges than a kind's own, by full key, such as {"ffn.fff.depth": (2, 6)}."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds. A search trains every variant with the first; a comparison with each."""
    tune_lr: tuple[float, ...] = ()
    """A comparison first trains each variant once at each of these factors of its own rate, and then the seeds that count
    at the best one (see search/tuning.py); empty = every variant has the rate that it is given."""
    baseline: Flat | None = None
    """Keys of the variant beside which `--confirm` trains a search's best ones; none = the dense default."""
    trials: int = 16
    """Variants that a search samples."""
    scheduler: str = "asha"
    """asha, hyperband, median or none: what stops the weak trials of a search (see the files of these names)."""
    grace: int = 1
    """Epochs that every trial of a search gets before it may be stopped."""
    reduction: int = 3
    """asha and hyperband keep the best 1/reduction of each rung."""
    pooled_rungs: bool = False
    """One race for all feed-forward kinds, instead of one for each."""
    sampler: str = "tpe"
    """tpe, random, gp, nsgaii, grid, or the name of a class of optuna.samplers (see search/samplers.py)."""
    objectives: tuple[str, ...] = ("val_acc",)
    """val_acc, to be high; and with it one of `COSTS`, to be low, for the front of the two instead of one best."""
    search_seed: int = 0
    concurrency: int | None = None
    """Trials at once; none = one for each GPU, or half of the CPU cores and at least 2."""
    threads: int | None = None
    """CPU threads of one trial; none = its share of the cores."""
    known: tuple[Known, ...] = ()
    """Results of earlier searches, for the sampler of a search."""
    train_known: bool = False
    """Whether a variant that is known may be trained again."""
    name: str = ""
    question: str = ""

    def __post_init__(self) -> None:
        for name in GIVEN:
            object.__setattr__(self, name, _plain(getattr(self, name)))
        if (self.space is None) == (self.grid is None):
            raise InputError(
                'An experiment has either a "space" (a search) or a "grid" (a comparison), but got '
                f"{'neither' if self.space is None else 'both'}."
            )
        if self.space is not None and not callable(self.space):
            raise InputError(
                'A "space" must be a function of a scope, such as lambda scope: {"lr": scope.float("lr", 1e-4, 1e-2)}, '
                f"but got {self.space!r}."
            )
        seeds: object = self.seeds  # whatever a file gives, which nothing type-checks
        if isinstance(seeds, str) or not isinstance(seeds, Sequence):
            raise InputError(f'"seeds" must be a sequence such as (0, 1, 2), but got {seeds!r}.')
        names: dict[str, object] = {"sampler": self.sampler, "scheduler": self.scheduler}
        for key, named in names.items():
            if not isinstance(named, str):
                raise InputError(f'"{key}" must be a name such as {EXAMPLES[key]}, but got {named!r}.')
        if isinstance(self.grid, Mapping):
            raise InputError(
                'A "grid" must be a list with a dictionary for each variant, such as [{"lr": 1e-3}, {"lr": 3e-3}], but got '
                f"{self.grid!r}."
            )
        for key, value, low in (
            ("trials", self.trials, 1),
            ("grace", self.grace, 1),
            ("reduction", self.reduction, 2),
            ("concurrency", self.concurrency if self.concurrency is not None else 1, 1),
            ("seeds", len(self.seeds), 1),
        ):
            if value < low:
                raise InputError(f'"{key}" must be at least {low}, but got {value}.')
        if self.scheduler not in SCHEDULERS:
            raise InputError(one_of("scheduler", self.scheduler, SCHEDULERS))
        first, *others = self.objectives or ("none",)
        if first != "val_acc" or len(others) > 1:
            raise InputError(
                f'"objectives" must be val_acc, alone or with one of {", ".join(COSTS)}, '
                f"but got {', '.join(self.objectives) or 'none'}."
            )
        for cost in others:
            if cost not in COSTS:
                raise InputError(one_of("second objective", cost, COSTS))
        if len(set(self.seeds)) != len(self.seeds):
            raise InputError(f'"seeds" must differ from one another, but got {self.seeds}.')
        if TUNING_SEED in self.seeds:
            raise InputError(
                f'"seeds" must be below {TUNING_SEED}, the seed by which learning rates are tuned, but got {self.seeds}.'
            )
        if self.tune_lr and (self.grid is None or len(set(self.tune_lr)) < 2 or not 0 < min(self.tune_lr) < math.inf):
            raise InputError(
                '"tune_lr" must be two or more different factors above 0, and belongs to a "grid", but got '
                f"{', '.join(f'{factor:g}' for factor in self.tune_lr)}."
            )
        given = [self.match] if not isinstance(self.match, list | tuple) else self.match
        if self.match is not None and not all(isinstance(match, Match) for match in given):
            raise InputError(
                f'A "match" must be a Match(measure=..., target=...) or a list of them, but got {self.match!r}.'
            )
        if self.matches and self.grid is None:
            raise InputError(
                'A "match" solves the widths of given variants, so it needs a "grid", but got a "space"; list the variants.'
            )
        if self.grid is not None and not self.grid:
            raise InputError('A comparison needs at least one variant, but got an empty "grid".')
        for variant in self.grid or ():
            if not isinstance(variant, Mapping):
                raise InputError(f'Every variant of a "grid" must be a dictionary of keys, but got {variant!r}.')
        for flat in (self.base, self.fixed, self.baseline or {}, *(self.grid or ())):
            for strange in (each for each in flat if not isinstance(each, str)):
                raise InputError(f'A key must be text such as "lr", but got {strange!r} in {dict(flat)}.')
            if "seed" in flat:  # it would be overwritten in silence
                raise InputError(
                    'Training seeds must be given by the "seeds" of an experiment, or by --seeds for a comparison, but '
                    f"got the key seed={flat['seed']}."
                )
        epochs = self.epochs
        if self.space is not None and self.grace > epochs:
            raise InputError(
                f'"grace" must be at most "epochs", but got (grace={self.grace}, epochs={epochs}); give --grace {epochs}, '
                "or more epochs."
            )

    @property
    def is_comparison(self) -> bool:
        return self.grid is not None

    @property
    def matches(self) -> tuple[Match, ...]:
        """None, one, or each of several."""
        if self.match is None:
            return ()
        return (self.match,) if isinstance(self.match, Match) else tuple(self.match)

    @property
    def epochs(self) -> int:
        """The full horizon of every trial; in a comparison whose variants have horizons of their own, the longest."""
        usual = self.fixed.get("epochs", self.base.get("epochs", 30))
        return max(_positive_epochs(flat.get("epochs", usual)) for flat in self.grid or ({},))

    def race(self, kind: object) -> str:
        """The group in which a trial of this feed-forward kind is judged: its kind, unless rungs are pooled."""
        return "all" if self.pooled_rungs else str(kind)

    def build_scheduler(self) -> Scheduler:
        """The scheduler of a search that has seen nothing yet; one that stops nothing for a comparison."""
        name = "none" if self.is_comparison else self.scheduler
        return build_scheduler(name, self.grace, self.reduction, self.epochs)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs of the scheduler's rungs; none in a comparison."""
        return self.build_scheduler().rungs

    def with_fixed(self, fixed: Mapping[str, FlatValue], **changes: Any) -> Experiment:
        """The experiment with keys fixed for every trial, as `--set KEY=VALUE` does, and with other fields changed.

        Raises:
            InputError: a comparison's variants differ in that key.
        """
        for key in fixed:
            if self.grid is not None and any(key in variant for variant in self.grid):
                raise InputError(
                    f"The variants of {self.name!r} differ in {key!r}, so it cannot be fixed; fix another key, or copy "
                    "the experiment's file and change its grid."
                )
        return replace(self, fixed={**self.fixed, **fixed}, **changes)


def one_of(what: str, given: str, known: Iterable[str]) -> str:
    """The sentence that refuses an unknown name, with the nearest one, or with all."""
    listed = list(known)
    near = get_close_matches(given, listed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(listed)}."
    return f"Unknown {what} {given!r}; {hint}"


def comparison_plan(experiment: Experiment) -> list[Flat]:
    """All trials of a comparison, seed by seed, so that what has run at any moment compares."""
    assert experiment.grid is not None
    base = {**experiment.base, **experiment.fixed}
    return [compose(base, variant, seed) for seed in experiment.seeds for variant in experiment.grid]


def compose(base: Mapping[str, FlatValue], chosen: Mapping[str, FlatValue], seed: int) -> Flat:
    """A trial's dictionary from what is common, what was chosen, and the seed.

    Keys of `base` that belong to another feed-forward kind than the chosen one are left out, so that
    `--set ffn.fff.trees=2` fixes the trees of the trees and leaves the dense variants alone.

    Raises:
        InputError: a seed was chosen, which would be overwritten in silence.
    """
    if "seed" in chosen:
        raise InputError(
            'A space must not return the key "seed": a search trains each variant with one seed, the first of its "seeds"; '
            "leave it out."
        )
    flat = {**base, **chosen, "seed": seed}
    active = f"ffn.{flat.get('ffn', 'mlp')}."
    return {
        key: value
        for key, value in flat.items()
        if key in chosen or not key.startswith("ffn.") or key.startswith(active)
    }


def _plain(value: Any) -> Any:
    """The same with Python's numbers in place of numpy's."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(each) for each in value)
    return value.item() if getattr(value, "shape", None) == () else value


def _positive_epochs(value: object) -> int:
    try:
        epochs = int(convert(int, value, "epochs"))  # text from --set is converted
    except FieldError as error:
        raise InputError(str(error)) from error
    if epochs < 1:
        raise InputError(f'"epochs" must be at least 1, but got {value}.')
    return epochs
