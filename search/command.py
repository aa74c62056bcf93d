"""What `search.run` does, step by step: check, prepare, train under Ray, and show what came out."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from results.cli import EXIT_INTERRUPTED
from results.errors import InputError
from results.rows import TrialRow
from results.store import Store
from search import catalog
from search.announcement import announce
from search.cluster import look_at
from search.confirm import Wish, confirmation, more_seeds
from search.dashboard_link import DashboardLink, dashboard_token
from search.driver import run_session, tidy_up
from search.experiment import Experiment
from search.heartbeat import Heartbeat, refuse_second_driver
from search.listing import show_experiment
from search.live import LiveView
from search.outcome import command, say_how_it_stands, show_results
from search.places import to_be_shared, trials_base
from search.prepare import (
    Checked,
    Overrides,
    Prepared,
    check_new,
    data_name,
    experiment_of,
    prepare_new,
    prepare_resume,
)
from search.preview import preview
from search.resources import Resources, plan_resources
from search.sampler import ATTEMPTS, Sampler
from search.session import Session
from search.timing import Timing
from search.timing_run import print_preview, refuse_options, run_timing
from search.warm_start import warm_started
from search.watchdog import TIMES, Watchdog
from trainer.dataset import read_header
from trainer.lease import SupersededError
from trainer.resolve import discover_variants

DEFAULT_EXPERIMENT = "quickstart"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The command line of `search.run`."""

    experiment: str | None
    resume: str | None
    confirm: Wish | None = None
    overrides: Overrides
    concurrency: int | None
    gpus_per_trial: float | None
    cpus_per_trial: float | None
    time_budget_seconds: float | None
    gpu_hours: float | None = None
    workers_per_trial: int | None = None
    nodes_per_trial: int | None = None
    preview: bool = False
    storage: str
    note: str
    tags: tuple[str, ...]
    variants: tuple[str, ...]
    dashboard: bool
    watchdog: float = TIMES
    warm_start: tuple[str, ...] = ()
    train_again: bool | None = None
    accept_changes: bool | None = None
    address: str | None = None
    checkpoints: str | None = None


def search(asked: Asked, console: Console) -> None:
    """Run or resume a search to its end, and print its table. Raises InputError before anything is started."""
    if asked.resume is not None and asked.experiment is not None:
        raise InputError(
            f"Give an experiment or --resume, not both; --resume {asked.resume} knows its experiment already."
        )
    if asked.accept_changes and asked.resume is None:
        raise InputError("--accept-changes is of a search that goes on, so it needs --resume SEARCH.")
    if not (asked.watchdog == 0 or 1 <= asked.watchdog < math.inf):  # nan, too
        raise InputError(
            f'"--watchdog" must be 0 (never), or from 1: so many times its expected epoch a trial may be silent; but got '
            f"{asked.watchdog:g}."
        )
    if asked.preview and asked.resume is not None:
        raise InputError(f"--preview is of a new search, so it does not go with --resume {asked.resume}.")
    if asked.preview and asked.address is not None:
        raise InputError("--preview measures this machine, so it does not go with --address; leave one out.")
    new: Checked | None
    if asked.confirm is not None:
        asked, new = _confirmed(asked, asked.confirm, console)
    else:
        found = _found(asked)
        if isinstance(found, Timing):
            _time(found, asked, console)
            return
        new = (
            _checked(asked, found, console) if found is not None else None
        )  # what is refused leaves no database behind
    if asked.preview and new is not None:
        with Store.open(asked.storage) as store:
            preview(store, new, asked.variants, console)
        return
    send_code = new is not None and _lacks_code(new.resources, trials_base(asked.checkpoints, asked.storage))
    with Store.open(asked.storage, create=new is not None) as store:
        if new is None:
            prepared, resources, send_code = _resume(store, asked, console)
        else:
            prepared, resources = _start(store, asked, new)
        for note in prepared.notes:
            console.print(f"Note: {note}", highlight=False, soft_wrap=True)
        session = Session(
            store,
            prepared.search_id,
            prepared.experiment,
            folder=prepared.folder,
            header=prepared.header,
            concurrency=resources.concurrency,
            gpus_per_trial=resources.gpus_per_trial,
            startup_trials=prepared.startup_trials,
            time_budget_seconds=asked.time_budget_seconds,
            gpu_hours=asked.gpu_hours,
            trials_folder=prepared.trials_folder,
        )
        if session.complete:
            store.update_search(prepared.search_id, status="ended")
            tidy_up(session)
            console.print(f"Search {prepared.search_id} has ended: all its {session.planned} trials have run. "
                          "Add some with --trials or, to a comparison, --seeds.", highlight=False)  # fmt: skip
        else:
            with Heartbeat(store, prepared.search_id):
                _train(session, prepared, resources, asked, console, send_code)
    show_results(prepared, asked.storage, console)


def show(name: str, asked: Asked, console: Console) -> None:
    """An experiment as it would run with what was asked for; nothing is started. Raises InputError as `search` does."""
    discover_variants(asked.variants)
    found = catalog.find(name)
    if isinstance(found, Timing):
        refuse_options(found, _options(asked))
    show_experiment(found if isinstance(found, Timing) else asked.overrides.apply(found), console)


def _time(found: Timing, asked: Asked, console: Console) -> None:
    refuse_options(found, _options(asked))
    if asked.preview:
        print_preview(found, console)
    else:
        run_timing(found, asked.storage, console)


def _confirmed(asked: Asked, wish: Wish, console: Console) -> tuple[Asked, Checked]:
    """The comparison that confirms a search, and what was asked for with the search's own variants."""
    free = ("--confirm", "--seeds", "--tune-lr", "--concurrency", "--gpus-per-trial", "--cpus-per-trial",
            "--workers-per-trial", "--nodes-per-trial", "--time-budget", "--gpu-hours", "--note", "--tag",
            "--variants", "--address", "--checkpoints")  # fmt: skip
    for option, value in {"an experiment": asked.experiment, "--resume": asked.resume, **_options(asked)}.items():
        if option not in free and value is not False and value not in (None, (), "", {}):
            raise InputError(
                f"--confirm {wish.search} trains what that search found, as it was, so {option} does not go with it; leave "
                "that out."
            )
    with Store.open(asked.storage, create=False) as store:
        found = confirmation(store, wish, asked.overrides.tune_lr or ())
    for note in found.notes:
        console.print(note, style="yellow", highlight=False, soft_wrap=True)
    own = [path for path in asked.variants if path not in found.variants]
    discover_variants(own)
    new = check_new(found.source, found.experiment, _resources(asked, found.experiment))
    if new.header.checksum != found.data_checksum:
        raise InputError(
            f"The data set {new.header.name!r} has changed since {wish.search} (checksum {new.header.checksum[:12]}, "
            f"recorded {found.data_checksum[:12]}): put the old file back, for other data confirm nothing."
        )
    return replace(asked, variants=(*found.variants, *own)), replace(new, confirms=found.confirms)


def _found(asked: Asked) -> Experiment | Timing | None:
    """What was asked for; none for a search that goes on, whose experiment the store knows."""
    if asked.resume is None:
        discover_variants(asked.variants)
        return catalog.find(_source(asked))
    name = asked.resume.rpartition("-")[0]
    found = catalog.find(name) if name in catalog.names() else None
    return found if isinstance(found, Timing) else None  # which no store knows


def _source(asked: Asked) -> str:
    return asked.experiment if asked.experiment is not None else DEFAULT_EXPERIMENT


def _options(asked: Asked) -> dict[str, object]:
    """All options that only trials have, with what was given for them."""
    spelled = {"search_seed": "--seed", "fixed": "--set", "time_budget_seconds": "--time-budget", "tags": "--tag"}
    everywhere = ("experiment", "overrides", "preview", "storage", "dashboard", "watchdog")
    values = {field.name: getattr(asked.overrides, field.name) for field in fields(asked.overrides)}
    values |= {field.name: getattr(asked, field.name) for field in fields(asked) if field.name not in everywhere}
    return {spelled.get(name, "--" + name.replace("_", "-")): value for name, value in values.items()}


def _checked(asked: Asked, found: Experiment, console: Console) -> Checked:
    source = _source(asked)
    experiment = asked.overrides.apply(found)
    resources = _resources(asked, experiment)
    if asked.warm_start:
        experiment = _warm_started(asked, experiment, resources, console)
    elif asked.train_again:
        raise InputError("--train-again is of the variants that --warm-start SEARCH knows, so it needs that.")
    if source.endswith(".py"):
        source = str(Path(source).absolute())  # a link has the name of its function, its target may not
    return check_new(source, experiment, resources)


def _warm_started(asked: Asked, experiment: Experiment, resources: Resources, console: Console) -> Experiment:
    with Store.open(asked.storage, create=False) as store:
        warm, misfits = warm_started(
            store,
            replace(experiment, train_known=bool(asked.train_again)),
            asked.warm_start,
            read_header(data_name(experiment)),
            on_gpu=resources.gpus_per_trial > 0,
        )
    also = f"; {misfits} more do not fit its space" if misfits else ""
    console.print(
        f"Warm start: the sampler knows {len(warm.known)} results of {', '.join(dict.fromkeys(asked.warm_start))}{also}.",
        highlight=False,
        soft_wrap=True,
    )
    return warm


def _start(store: Store, asked: Asked, new: Checked) -> tuple[Prepared, Resources]:
    prepared = prepare_new(
        store, new, notes=asked.note, tags=asked.tags, variants=asked.variants, checkpoints=asked.checkpoints
    )
    return prepared, new.resources


def _lacks_code(resources: Resources, base: Path, rows: Iterable[TrialRow] = ()) -> bool:
    """Whether a joined cluster must be sent this code; InputError where it could not train the trials."""
    if resources.cluster is None:
        return False
    from search.nodes import lacks_code

    return lacks_code(resources.cluster, to_be_shared(base, rows))


def _resume(store: Store, asked: Asked, console: Console) -> tuple[Prepared, Resources, bool]:
    assert asked.resume is not None
    row = store.search(asked.resume)
    if "source" not in row.settings:
        raise InputError(f"{asked.resume} was not made by search.run, so there is nothing to resume.")
    stored = row.settings["variants"]
    variants = (*stored, *(path for path in asked.variants if path not in stored))
    discover_variants(variants)
    given = asked.overrides
    for option, value in (
        ("--epochs", given.epochs),
        ("--grace", given.grace),
        ("--reduction", given.reduction),
        ("--seed", given.search_seed),
        ("--seeds", given.seeds if row.settings["grid"] is None else None),
        ("--sampler", given.sampler),
        ("--scheduler", given.scheduler),
        ("--objective", given.objectives),
        ("--pooled-rungs", given.pooled_rungs),
        ("--set", given.fixed or None),
        ("--warm-start", asked.warm_start or None),
        ("--train-again", asked.train_again or None),
        ("--tune-lr", given.tune_lr),
    ):
        if value is not None:
            raise InputError(f"A resumed search keeps its rules, so {option} cannot change; start a new search.")
    experiment = given.apply(experiment_of(row.settings, row.experiment))
    if experiment.is_comparison and given.seeds is not None:  # seeds are added, never taken away
        if row.settings.get("confirms"):
            experiment = replace(experiment, seeds=more_seeds(row.settings, given.seeds))
        else:
            added = [seed for seed in given.seeds if seed not in row.settings["seeds"]]
            experiment = replace(experiment, seeds=(*row.settings["seeds"], *added))
    if given.trials is not None and given.trials < len(store.trials(row.id)):
        raise InputError(
            f'"--trials" must be at least the {len(store.trials(row.id))} trials that {row.id} has, '
            f"but got {given.trials}."
        )
    resources = _resources(asked, experiment, row.settings.get("wishes"))
    checkpoints = asked.checkpoints or row.settings.get("checkpoints")
    refuse_second_driver(row)  # before the nodes are asked, which takes seconds
    send_code = _lacks_code(resources, trials_base(checkpoints, store.url), store.trials(row.id))
    prepared = prepare_resume(
        store,
        row.id,
        experiment,
        resources,
        variants=variants,
        accept_changes=bool(asked.accept_changes),
        checkpoints=checkpoints,
    )
    if asked.note or asked.tags:
        notes = "\n".join(filter(None, (row.notes, asked.note)))
        store.update_search(row.id, notes=notes, tags=[*row.tags, *(tag for tag in asked.tags if tag not in row.tags)])
    console.print(f"Going on with {row.id}.", highlight=False)
    return prepared, resources, send_code


def _resources(asked: Asked, experiment: Experiment, former: Mapping[str, Any] | None = None) -> Resources:
    """What the command line asks for; else what a resumed search had been asked for; else as the experiment says."""
    wishes: dict[str, Any] = {"concurrency": experiment.concurrency, "cpus_per_trial": None, "gpus_per_trial": None,
                              "workers_per_trial": None, "nodes_per_trial": None}  # fmt: skip
    for source in (former or {}, {name: getattr(asked, name) for name in wishes}):
        wishes.update({name: source[name] for name in wishes if source.get(name) is not None})
    cluster = look_at(asked.address) if asked.address is not None else None
    resources = plan_resources(**wishes, threads=experiment.threads, cluster=cluster)
    if asked.gpu_hours is not None:
        if not 0 < asked.gpu_hours < math.inf:  # nan, too
            raise InputError(f'"--gpu-hours" must be above 0, but got {asked.gpu_hours:g}.')
        if resources.gpus_per_trial == 0:
            raise InputError("--gpu-hours needs trials on a GPU; use --time-budget.")
    return resources


def _train(
    session: Session,
    prepared: Prepared,
    resources: Resources,
    asked: Asked,
    console: Console,
    send_code: bool,
) -> None:
    experiment = prepared.experiment
    session.on_note = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    session.heed()
    if session.done:  # Ray would start for nothing
        say_how_it_stands(session, session.close(), asked.storage, console)
        return
    announce(session, prepared, resources, console)

    links = ExitStack()  # one page, which lives as long as Ray does

    def on_ray(url: str | None) -> None:
        view.ray_is_up()
        if url is not None:
            token = dashboard_token()
            link = links.enter_context(DashboardLink(url, token)) if token is not None else None
            console.print(f"Ray dashboard: {url}", highlight=False)
            if link is not None:
                console.print(f"It asks for a token; this link logs a browser in, once: {link.url}", highlight=False,
                              soft_wrap=True)  # fmt: skip

    view = LiveView(session, console)
    session.on_event, session.on_note = view.event, view.note
    try:
        with view, links:
            status = run_session(
                session,
                resources,
                variants=prepared.variants,
                dashboard=asked.dashboard,
                watchdog=Watchdog(asked.watchdog),
                on_ray=on_ray,
                send_code=send_code,
            )
    except SupersededError as error:
        raise InputError(f"{error} What was reported is in the store, and its trials go on there.") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            f"The disk is full ({error.filename}); what was reported is in the store: make space, then go on with "
            f"{command('search.run', asked.storage)} --resume {prepared.search_id}"
        ) from error
    except KeyboardInterrupt:
        console.print(
            f"\nInterrupted. Everything reported is in the store; go on with\n  {command('search.run', asked.storage)} "
            f"--resume {prepared.search_id}",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    say_how_it_stands(session, status, asked.storage, console)
    if status == "ended" and session.planned < experiment.trials and not experiment.is_comparison:
        sampler, unknown = session.supply.sampler, " and were not known" if experiment.known else ""
        console.print(
            f"The space has only {session.planned} different variants that can be trained{unknown}; all were tried."
            if isinstance(sampler, Sampler) and sampler.all_tried
            else f"No new variant was found in {ATTEMPTS} draws, so the search ended after {session.planned}.",
            highlight=False,
        )
