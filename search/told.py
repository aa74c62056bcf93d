"""What tells the trials of a search apart, in words: for run folders, Ray's dashboard and TensorBoard."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from results.text import keys_text
from search.experiment import Experiment
from trainer.config import Flat

LONGEST = 80
"""Characters of a name, which becomes a folder's."""


def varied(experiment: Experiment) -> list[str]:
    """The keys in which the trials of a comparison differ; none of a search, whose sampler knows them."""
    return list(_of_grid(experiment))


def slug(flat: Flat, keys: Collection[str]) -> str:
    """`fff-depth=3-trees=2-lr=0.0021`: the kind and these keys, of characters that need no quotes in a shell."""
    words = keys_text(flat, ["ffn", *(key for key in flat if key in keys and key != "ffn")]).split(" ")
    if "seed" in keys:
        words.append(f"seed={flat['seed']}")
    return re.sub(r"[^A-Za-z0-9._=+-]", "_", "-".join(words))[:LONGEST].rstrip("-")


def display_name(work: Mapping[str, Any]) -> str:
    """`quickstart-1.7-fff-depth=3-lr=0.0021`: a trial's id and the words of its folder.

    Args:
        work: of a trial, as a Tune config carries it: its id and its folder.
    """
    return f"{work['trial']}-{Path(work['folder']).name.partition('-')[2]}"


def hparams(experiment: Experiment) -> dict[str, str]:
    """The keys in which a search's trials may differ, each with its type in TensorBoard: number, text or flag.

    The same for every trial of a search, whatever its kind: TensorBoard takes the list of the first trial that it finds.
    """
    if experiment.is_comparison:
        values = _of_grid(experiment)
    else:
        from search.sampler import Sampler

        sampled = Sampler(replace(experiment, sampler="random", known=()), 1).distributions()
        values = {key: _values(distribution) for key, distribution in sampled.items()}
    return {"ffn": "text", **{key: _type(each) for key, each in values.items() if key != "ffn"}}


def _of_grid(experiment: Experiment) -> dict[str, list[Any]]:
    """The keys in which the variants of a grid differ, with the value of each variant that has it."""
    common = {**experiment.base, **experiment.fixed}
    grid = [{**common, **variant} for variant in experiment.grid or ()]
    keys = dict.fromkeys(key for variant in grid for key in variant)
    values = {key: [each[key] for each in grid if key in each] for key in keys}
    differing = {
        key: found
        for key, found in values.items()
        if len(found) < len(grid) or len({repr(value) for value in found}) > 1
    }
    if experiment.tune_lr:
        differing["lr"] = list(experiment.tune_lr)
    if experiment.grid is not None and (len(experiment.seeds) > 1 or experiment.tune_lr):
        differing["seed"] = list(experiment.seeds)
    return differing


def _values(distribution: BaseDistribution) -> list[Any]:
    return list(distribution.choices) if isinstance(distribution, CategoricalDistribution) else [0.0]


def _type(values: list[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "flag"
    return "number" if all(type(value) in (int, float) for value in values) else "text"
