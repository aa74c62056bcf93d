"""The best variants of a search, trained again with seeds that it never saw, beside a baseline: `--confirm SEARCH`.

The best of many single runs looks better than it is. A confirmation is a comparison of its own, whose settings say under
`confirms` which search and trials it is of; all that it trains is in them, so it goes on without the experiment's file.

    search      the id of the search that is confirmed
    ranked      how many variants it had that ran to their end
    seen        training seeds that it has used
    variants    [{"trial": id in the search, "variant": hash in the confirmation}, ...], the best first
    baseline    {"variant": hash, "recipe": the trial whose training it has, "named": whether the experiment names it}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from results.errors import InputError
from results.ids import variant_hash
from results.rows import TrialRow
from results.store import Store
from results.tuned import COMPLETE
from search.experiment import TUNING_SEED, Experiment
from trainer.config import Flat, TrialConfig
from trainer.resolve import discover_variants

SEEDS = 5
TOP = 5
DENSE: Flat = {"ffn": "mlp"}
"""The baseline where the experiment names none: the dense kind at its default width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What `--confirm` asks for."""

    search: str
    top: int = TOP
    seeds: int | tuple[int, ...] = SEEDS
    """A number of fresh seeds, or which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """A comparison that confirms a search, before it is in the store."""

    experiment: Experiment
    confirms: Mapping[str, Any]
    """As it stands in the settings."""
    source: str
    variants: tuple[str, ...]
    """Files and folders of feed-forward kinds that the search was given."""
    data_checksum: str
    notes: tuple[str, ...]
    """What a person should know of the choice, a sentence each."""


def confirmation(store: Store, wish: Wish, tune_lr: tuple[float, ...] = ()) -> Confirmation:
    """The comparison that confirms a search's best variants.

    Raises:
        InputError: an unknown search, or one that is none (a comparison, imported trials); no trial that ran to its end;
            `top` below 1; a seed that the search has used.
    """
    if wish.top < 1:
        raise InputError(f'"--top" must be at least 1, but got {wish.top}.')
    row = store.search(wish.search)
    settings = row.settings
    if "data_checksum" not in settings or "source" not in settings:
        raise InputError(f"{row.id} was not made by search.run, so there is no search to confirm.")
    if settings.get("grid") is not None:
        raise InputError(
            f"{row.id} is a comparison, whose seeds count already; add some with --resume {row.id} --seeds N, or confirm a "
            "search."
        )
    discover_variants(settings["variants"])
    trials = store.trials(row.id)
    ranked = _ranked(trials)
    told_apart = _but_rate if tune_lr else _hash
    if not ranked:
        raise InputError(
            f"{row.id} has no trial that ran to its end, so there is nothing to confirm; let it finish first."
        )
    seen = sorted({trial.seed for trial in trials} | set(settings["seeds"]))
    chosen: dict[str, tuple[TrialRow, Flat]] = {}
    for trial in ranked:
        chosen.setdefault(told_apart(_config(trial)), (trial, _config(trial)))
    chosen = dict(islice(chosen.items(), wish.top))
    recipe = next((trial for trial in ranked if trial.config["ffn"] == "mlp"), ranked[0])
    named = settings.get("baseline")
    baseline = _baseline(named or DENSE, recipe, settings["fixed"])
    _, baseline = chosen.get(told_apart(baseline), (recipe, baseline))  # what is both is trained once
    confirms = {
        "search": row.id,
        "ranked": len(ranked),
        "seen": seen,
        "variants": [{"trial": trial.id, "variant": _hash(config)} for trial, config in chosen.values()],
        "baseline": {"variant": _hash(baseline), "recipe": recipe.id, "named": named is not None},
    }
    configs = [config for _, config in chosen.values()]
    base, grid = _common(configs if baseline in configs else [*configs, baseline], _alike(trials) - set(named or DENSE))
    experiment = Experiment(
        name=f"{row.experiment}-confirmed",
        question=_question(confirms),
        base=base,
        grid=grid,
        seeds=fresh_seeds(wish.seeds, seen, row.id),
        tune_lr=tune_lr,
        baseline=named,
        threads=_threads(settings),
    )
    notes = []
    if row.status != "ended":
        notes.append(f"Note: {row.id} has not ended; these are its best so far.")
    if len(chosen) < wish.top:
        notes.append(f"Note: {row.id} has only {len(chosen)} variants that ran to their end; all are confirmed.")
    return Confirmation(
        experiment=experiment,
        confirms=confirms,
        source=settings["source"],
        variants=tuple(settings["variants"]),
        data_checksum=settings["data_checksum"],
        notes=tuple(notes),
    )


def experiment_of(settings: Mapping[str, Any], name: str) -> Experiment:
    """The comparison of a stored confirmation, from its settings alone."""
    return Experiment(
        name=name,
        question=_question(settings["confirms"]),
        base=settings["base"],
        grid=settings["grid"],
        seeds=tuple(settings["seeds"]),
        tune_lr=tuple(settings["tune_lr"]),
        baseline=settings["baseline"],
        threads=_threads(settings),
    )


def fresh_seeds(wanted: int | Sequence[int], seen: Iterable[int], search: str) -> tuple[int, ...]:
    """So many of the smallest seeds that the search has not used, or those that are wanted.

    Raises:
        InputError: one that the search has used.
    """
    used = set(seen)
    if isinstance(wanted, int):
        return tuple(islice((seed for seed in count() if seed not in used and seed != TUNING_SEED), wanted))
    if again := sorted(used.intersection(wanted)):
        raise InputError(
            f"A confirmation needs seeds that {search} has not used, but got {', '.join(map(str, again))}; give others, or "
            "only their number."
        )
    return tuple(wanted)


def more_seeds(settings: Mapping[str, Any], given: tuple[int, ...]) -> tuple[int, ...]:
    """Seeds of a confirmation that goes on with `--seeds`: those that it has, and the fresh ones that are added."""
    confirms = settings["confirms"]
    wanted = len(given) if given == tuple(range(len(given))) else given  # a number comes as 0, 1, 2 ...
    more = fresh_seeds(wanted, confirms["seen"], confirms["search"])
    return (*settings["seeds"], *(seed for seed in more if seed not in settings["seeds"]))


def _threads(settings: Mapping[str, Any]) -> int | None:
    """On CPUs those of the search, for with others sums round differently."""
    return None if settings["gpus_per_trial"] else int(settings["threads"])


def _ranked(trials: Iterable[TrialRow]) -> list[TrialRow]:
    """The best trial of each variant by validation accuracy at the last epoch, the best variant first."""
    ended = [trial for trial in trials if trial.status in COMPLETE and trial.val_acc is not None]
    best: dict[str, TrialRow] = {}
    for trial in sorted(ended, key=lambda trial: (-(trial.val_acc or 0.0), trial.number)):
        best.setdefault(trial.variant, trial)
    return list(best.values())


def _config(trial: TrialRow) -> Flat:
    """A trial's dictionary without its seed and its patience: a confirmation trains to the full horizon."""
    return {key: None if key == "patience" else value for key, value in trial.config.items() if key != "seed"}


def _baseline(keys: Flat, recipe: TrialRow, fixed: Mapping[str, Any]) -> Flat:
    """Those keys, and everything that is not the feed-forward part as in a trial of the search."""
    kept = {key: value for key, value in _config(recipe).items() if key != "layout" and not key.startswith("ffn")}
    flat = {**kept, **({"layout": fixed["layout"]} if "layout" in fixed else {}), **keys, "seed": recipe.seed}
    return {key: value for key, value in TrialConfig.from_flat(flat).to_flat().items() if key != "seed"}


def _hash(config: Flat) -> str:
    return variant_hash(TrialConfig.from_flat({**config, "seed": 0}).to_flat())


def _but_rate(config: Flat) -> str:
    """What names a variant whose rate is to be tuned."""
    return _hash({**config, "lr": TrialConfig().lr})


def _alike(trials: Iterable[TrialRow]) -> set[str]:
    """The keys that have one value in all trials which have them: what a search has not searched."""
    return {key for key, found in _values(trial.config for trial in trials).items() if _is_one(found)}


def _common(configs: Sequence[Flat], unsearched: Collection[str]) -> tuple[Flat, list[Flat]]:
    """What all of these dictionaries have in common, and the rest of each, by which a variant is named.

    What all of a kind share of its own keys is common, too, where the search has not searched it.
    """
    shared = {
        key: found[0]
        for key, found in _values(configs).items()
        if _is_one(found) and (len(found) == len(configs) or (key.startswith("ffn.") and key in unsearched))
    }
    rest = [{key: value for key, value in each.items() if key not in shared} for each in configs]
    return shared, rest


def _values(configs: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for config in configs:
        for key, value in config.items():
            values.setdefault(key, []).append(value)
    return values


def _is_one(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _question(confirms: Mapping[str, Any]) -> str:
    chosen = len(confirms["variants"])
    best = f"the {chosen} best variants" if chosen > 1 else "the best variant"
    return f"Does what {confirms['search']} found hold: {best} of {confirms['ranked']}, with seeds that it never saw?"
