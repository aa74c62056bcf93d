"""What is checked and decided before Ray or a GPU is touched: the experiment, its data, its place in the store."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arch_space.cost import price
from arch_space.model import ModelConfig
from arch_space.registry import FFN
from results.driver_life import driver_process
from results.errors import InputError
from results.ids import FolderClaim, make_run_folder, runs_folder
from results.opening import masked
from results.store import Store
from search import catalog, confirm
from search.changes import notes_on_edits, refused_changes, require_accepted, variant_hashes, with_changes
from search.experiment import Experiment, comparison_plan
from search.heartbeat import refuse_second_driver
from search.known import Known
from search.latencies import LATENCY
from search.matching import Matching, solve
from search.places import trials_base
from search.resources import Resources
from search.sampler import Sampler, described_space
from search.tuning import require_rates_of_their_own, tuning_plan
from trainer.config import Flat, own_keys
from trainer.dataset import Header, load_dataset, read_header
from trainer.fingerprint import fingerprint
from trainer.resolve import require_workers, resolve

FEW, MANY = 8, 64
"""Points of a search's space that are looked at before it goes on, and before a new one starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A new search that may go into a store."""

    source: str
    experiment: Experiment
    resources: Resources
    header: Header
    startup_trials: int
    matchings: tuple[Matching, ...] = ()
    """How the widths of the experiment's grid were solved, where it has a match."""
    confirms: Mapping[str, Any] | None = None
    """Which search and which of its trials this one confirms (see `search.confirm`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A search that is in the store and may start."""

    search_id: str
    experiment: Experiment
    header: Header
    folder: Path
    trials_folder: Path
    startup_trials: int
    variants: tuple[str, ...]
    """Files and folders of feed-forward kinds outside the package."""
    matchings: tuple[Matching, ...] = ()
    """As in `Checked`."""
    notes: tuple[str, ...] = ()
    """What a resumed search does about an experiment's file that was edited; why a new one has not the next number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """What the command line changes of an experiment; none = as the experiment says."""

    trials: int | None = None
    epochs: int | None = None
    grace: int | None = None
    reduction: int | None = None
    search_seed: int | None = None
    seeds: tuple[int, ...] | None = None
    sampler: str | None = None
    scheduler: str | None = None
    objectives: tuple[str, ...] | None = None
    pooled_rungs: bool | None = None
    tune_lr: tuple[float, ...] | None = None
    fixed: Mapping[str, str] | None = None

    def apply(self, experiment: Experiment) -> Experiment:
        """Raises InputError where a value is out of range, or does not belong to this kind of experiment."""
        if experiment.is_comparison:
            for option, value in (("--trials", self.trials), ("--grace", self.grace), ("--reduction", self.reduction),
                                  ("--sampler", self.sampler), ("--scheduler", self.scheduler),
                                  ("--objective", self.objectives), ("--seed", self.search_seed),
                                  ("--pooled-rungs", self.pooled_rungs)):  # fmt: skip
                if value is not None:
                    raise InputError(
                        f"{experiment.name!r} is a comparison: every variant trains with every seed to the end, so "
                        f"{option} does not apply; use --seeds, or an experiment with a space."
                    )
        elif self.tune_lr is not None:
            raise InputError(
                f"{experiment.name!r} is a search, which samples learning rates where its space says so; --tune-lr is for a "
                "comparison."
            )
        elif self.seeds is not None and len(self.seeds) > 1:
            raise InputError(
                f"{experiment.name!r} is a search, which gives each variant one seed, but got {len(self.seeds)} seeds; "
                "train its best variants again with --confirm."
            )
        fixed: Flat = dict(self.fixed or {})
        if self.epochs is not None:
            if "epochs" in fixed:
                raise InputError(
                    f'"epochs" must be given once, but got --epochs {self.epochs} and --set epochs={fixed["epochs"]}.'
                )
            fixed["epochs"] = self.epochs
        check_keys(fixed)
        given = {
            name: getattr(self, name)
            for name in (
                "trials", "grace", "reduction", "search_seed", "seeds", "sampler", "scheduler", "objectives", "pooled_rungs",
                "tune_lr",
            )
            if getattr(self, name) is not None
        }  # fmt: skip
        complete = experiment.with_fixed(fixed, **given)  # at once: a grace fits the epochs that are given with it
        if self.reduction is not None and complete.scheduler in ("median", "none"):
            raise InputError(f'"--reduction" is for asha and hyperband, but the scheduler is {complete.scheduler!r}.')
        for option, value in (("--grace", self.grace), ("--pooled-rungs", self.pooled_rungs)):
            if value is not None and not experiment.is_comparison and complete.scheduler == "none":
                raise InputError(f"The scheduler 'none' stops no trial, so {option} does not apply; leave it out.")
        return complete


def check_keys(fixed: Mapping[str, object]) -> None:
    """Raises InputError for a key that no trial of any kind has."""
    from arch_space.flat import refuse_unknown

    known = set(own_keys()).union(*(ModelConfig.keys({"ffn": kind}) for kind in FFN.kinds()))
    try:
        for key in fixed:
            if key.startswith("ffn.") and key.count(".") == 2:
                FFN.config(key.split(".")[1])  # has the better sentence, where the kind is not known
        refuse_unknown(fixed, known)
    except ValueError as error:
        raise InputError(str(error)) from error


def check_trials(
    experiment: Experiment, startup_trials: int, header: Header, resources: Resources, suggestions: int = FEW
) -> None:
    """Resolve every trial of a comparison, or so many that a search might sample; InputError where one cannot be."""
    for given in (experiment.base, experiment.ranges):  # where a mistyped key would otherwise change nothing
        check_keys(given)
    on_gpu, data = resources.gpus_per_trial > 0, data_name(experiment)
    configs = []
    for flat in planned_flats(experiment, startup_trials, suggestions):
        if flat.get("data", data) != data:  # the search has read one data set, and would train on that
            raise InputError(
                f"All trials of {experiment.name!r} train on one data set, {data!r}, but a "
                f"{'variant' if experiment.is_comparison else 'point of its space'} has data={flat['data']}; write an "
                'experiment for each data set, with "data" in its "base".'
            )
        try:
            configs.append(resolve(flat, on_gpu=on_gpu, header=header))
        except InputError as error:
            if experiment.is_comparison or not configs:
                raise
            raise InputError(
                f"The space of {experiment.name!r} has points that cannot be trained; let its function choose such keys "
                f"together, or narrow their ranges: {error}"
            ) from error
    identities = [tuple(sorted(config.to_flat().items(), key=lambda item: item[0])) for config in configs]
    for config in configs:
        require_workers(config, resources.workers_per_trial, header)
        costs = price(config.model)
        for name in experiment.objectives[1:]:
            if name != LATENCY and getattr(costs, name) is None:
                raise InputError(
                    f"The kind {config.to_flat()['ffn']!r} does not define {name}, so that cannot be an objective of "
                    f"{experiment.name!r}; take another, or leave the kind out."
                )
    require_rates_of_their_own(experiment, configs)
    if experiment.is_comparison and len(set(identities)) < len(identities):
        raise InputError(f"The variants of {experiment.name!r} must differ from one another, but two are equal.")


def planned_flats(experiment: Experiment, startup_trials: int, suggestions: int) -> list[Flat]:
    """All trials of a comparison; of a search the first so many that it might sample, drawn without knowing any result."""
    if experiment.is_comparison:
        return [*tuning_plan(experiment), *comparison_plan(experiment)]
    sampler = Sampler(experiment, startup_trials)
    asked = (sampler.ask(number) for number in range(1, suggestions + 1))
    return [flat for flat in asked if flat is not None]


def data_name(experiment: Experiment) -> str:
    """The data set of an experiment; one for all its trials."""
    return str({**experiment.base, **experiment.fixed}.get("data", "digits"))


def check_new(source: str, experiment: Experiment, resources: Resources) -> Checked:
    """Check all of a new search but its store. Raises InputError: bad trials, data that are missing or damaged."""
    header = read_header(data_name(experiment))
    startup = min(10, max(4, experiment.trials // 4))
    experiment, matchings = solve(experiment, header, on_gpu=resources.gpus_per_trial > 0)
    check_trials(experiment, startup, header, resources, suggestions=MANY)
    load_dataset(data_name(experiment))  # for its checksum
    return Checked(
        source=source,
        experiment=experiment,
        resources=resources,
        header=header,
        startup_trials=startup,
        matchings=matchings,
    )


def prepare_new(
    store: Store,
    new: Checked,
    *,
    notes: str,
    tags: Sequence[str],
    variants: Sequence[str],
    checkpoints: str | None = None,
) -> Prepared:
    """Put a new search into the store."""
    runs, base = runs_folder(store.url), trials_base(checkpoints, store.url)
    settings = settings_of(
        new.source, new.experiment, new.resources, new.header, new.startup_trials, variants, new.matchings
    )
    settings["checkpoints"] = None if checkpoints is None else str(base)
    claim = FolderClaim(runs, base)
    search_id = store.create_search(
        new.experiment.name,
        new.experiment.question,
        settings if new.confirms is None else {**settings, "confirms": dict(new.confirms)},
        driver_provenance(new.resources, variants),
        notes=notes,
        tags=list(tags),
        claim=claim,
    )
    return Prepared(
        search_id=search_id,
        experiment=new.experiment,
        header=new.header,
        folder=runs / search_id,
        trials_folder=base / search_id,
        startup_trials=new.startup_trials,
        variants=tuple(variants),
        matchings=new.matchings,
        notes=tuple(
            f"{folder} is there already, of another database; so this search is {search_id}."
            for folder in claim.passed_over[-1:]
        ),
    )


def experiment_of(settings: Mapping[str, Any], name: str) -> Experiment:
    """The experiment of a stored search: its code from the file, all values from the store.

    A comparison's grid may have grown in the file since; variants that are gone from it stay. A match stays as it was,
    with the widths that were solved; `prepare_resume` solves those of new variants.

    Raises:
        InputError: the experiment or its file is not there any more, or cannot be used.
    """
    if settings.get("confirms"):
        return confirm.experiment_of(settings, name)
    source = settings["source"]
    if source.endswith(".py") and not Path(source).is_file():
        raise InputError(
            f"There is no experiment file at {source!r} any more, and a search that goes on reads it again; put it back."
        )
    loaded = catalog.load(source)
    grid = loaded.grid
    matches = settings.get("match") or []
    if settings["grid"] is not None:
        stored = settings["grid"]
        known = [*stored, *(variant["asked"] for match in matches for variant in match["variants"])]
        grid = [*stored, *(variant for variant in (loaded.grid or []) if variant not in known)]
    return replace(
        loaded,
        name=name,
        base=settings["base"],
        fixed=settings["fixed"],
        ranges={key: tuple(bounds) for key, bounds in settings["ranges"].items()},
        grid=grid,
        match=[Matching.from_plain(plain).match for plain in matches] or None,
        seeds=tuple(settings["seeds"]),
        tune_lr=tuple(settings.get("tune_lr", ())),  # absent before rates could be tuned
        baseline=settings.get("baseline"),
        trials=settings["trials"],
        grace=settings["grace"],
        reduction=settings["reduction"],
        pooled_rungs=settings["pooled_rungs"],
        scheduler=settings["scheduler"] if settings["grid"] is None else loaded.scheduler,
        sampler=settings["sampler"],
        objectives=tuple(settings.get("objectives", ["val_acc"])),  # absent before there were two
        search_seed=settings["search_seed"],
        known=tuple(Known.from_plain(plain) for plain in settings.get("known", [])),  # absent before warm starts
        train_known=settings.get("train_known", False),
    )


def prepare_resume(
    store: Store,
    search_id: str,
    experiment: Experiment,
    resources: Resources,
    *,
    variants: Sequence[str],
    accept_changes: bool = False,
    checkpoints: str | None = None,
) -> Prepared:
    """Check that a stored search may go on here, and note that this process now drives it, and what has changed.

    Raises:
        InputError: another driver lives; the data are damaged; without `accept_changes`: the data, the model's code or the
            space have changed, or the grid other than by new variants.
    """
    row = store.search(search_id)
    refuse_second_driver(row)
    header = read_header(data_name(experiment))
    startup = row.settings["startup_trials"]
    known = [Matching.from_plain(plain) for plain in row.settings.get("match") or []]
    experiment, matchings = solve(experiment, header, on_gpu=resources.gpus_per_trial > 0, known=known)
    check_trials(experiment, startup, header, resources)
    present = driver_provenance(resources, variants)
    refused = refused_changes(store, row, experiment, startup, header, present)
    require_accepted(row, refused, accepted=accept_changes)
    load_dataset(data_name(experiment))  # for its checksum
    folder = runs_folder(store.url) / search_id
    make_run_folder(folder)
    settings = settings_of(row.settings["source"], experiment, resources, header, startup, variants, matchings)
    base = trials_base(checkpoints, store.url)
    settings["checkpoints"] = None if checkpoints is None else str(base)
    claimed = store.claim_search(
        search_id,
        row.heartbeat,
        status="running",
        settings={**row.settings, **settings},
        provenance={
            **row.provenance,
            **present,
            "command": row.provenance.get("command", present["command"]),  # the one that began it
            "changes": with_changes(row, settings, present, refused),
        },
    )
    if not claimed:
        raise InputError(f"Another process has just taken up {search_id}; stop that one first.")
    return Prepared(
        search_id=search_id,
        experiment=experiment,
        header=header,
        folder=folder,
        trials_folder=base / search_id,
        startup_trials=startup,
        variants=tuple(variants),
        matchings=matchings,
        notes=tuple(notes_on_edits(row)),
    )


def settings_of(
    source: str,
    experiment: Experiment,
    resources: Resources,
    header: Header,
    startup_trials: int,
    variants: Sequence[str],
    matchings: Sequence[Matching] = (),
) -> dict[str, Any]:
    """All that a search was run with, as JSON values."""
    return {
        "source": source,
        "base": dict(experiment.base),
        "fixed": dict(experiment.fixed),
        "ranges": {key: list(bounds) for key, bounds in experiment.ranges.items()},
        "grid": [dict(variant) for variant in experiment.grid] if experiment.grid is not None else None,
        "match": [matching.to_plain() for matching in matchings] or None,
        "space": None if experiment.is_comparison else described_space(experiment),
        "seeds": list(experiment.seeds),
        "tune_lr": list(experiment.tune_lr),
        "baseline": dict(experiment.baseline) if experiment.baseline is not None else None,
        "trials": experiment.trials,
        "epochs": experiment.epochs,
        "grace": experiment.grace,
        "reduction": experiment.reduction,
        "rungs": list(experiment.rungs),
        "pooled_rungs": experiment.pooled_rungs,
        "scheduler": experiment.build_scheduler().name,
        "sampler": experiment.sampler,
        "objectives": list(experiment.objectives),
        "search_seed": experiment.search_seed,
        "known": [known.to_plain() for known in experiment.known],
        "train_known": experiment.train_known,
        "startup_trials": startup_trials,
        "concurrency": resources.concurrency,
        "cpus_per_trial": resources.cpus_per_trial,
        "gpus_per_trial": resources.gpus_per_trial,
        "workers_per_trial": resources.workers_per_trial,
        "nodes_per_trial": resources.nodes_per_trial,
        "threads": resources.threads,
        "wishes": dict(resources.wishes),
        "data": header.name,
        "data_checksum": header.checksum,
        "val_images": header.counts["val"],
        "variants": list(variants),
    }


def driver_provenance(resources: Resources, variants: Sequence[str]) -> dict[str, Any]:
    """Code and machine of the driver, and which process it is, so that a second one can be refused."""
    import torch

    on_gpu = resources.gpus_per_trial and (resources.cluster is None or torch.cuda.is_available())
    device = torch.device("cuda" if on_gpu else "cpu")
    return {
        **fingerprint(device, resources.threads),
        **driver_process(),
        "command": command_line(sys.argv),
        "variant_hashes": variant_hashes(variants),
    }


def command_line(words: Sequence[str]) -> str:
    """The command of this process as a shell takes it; the path of a module becomes `python -m`, passwords in URLs `***`."""
    path = Path(words[0])
    program = f"python -m {path.parent.name}.{path.stem}" if path.suffix == ".py" and path.parent.name else path.name
    return " ".join([program, *(shlex.quote(masked(word)) for word in words[1:])])
