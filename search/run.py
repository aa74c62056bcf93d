"""`python -m search.run [EXPERIMENT]`: run an architecture search, or go on with one."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.console import Console

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError

EXAMPLES = """\
Run an architecture search: sample variants, train each with DeepSpeed on data by DALI, stop the weak, rank the rest.

Examples:

  python -m search.run                                  the quickstart, on the embedded digits

  python -m search.run fff_vs_dense --trials 24 --concurrency 4

  python -m search.run baseline --epochs 30 --seeds 5   a comparison: every variant with every seed

  python -m search.run baseline --preview               what it would cost, without starting it

  python -m search.run my/idea.py --set lr=1e-3         an experiment of your own, with a key fixed

  python -m search.run fff_depth --tune-lr              a learning rate for each variant first, then the seeds

  python -m search.run --confirm quickstart-1 --top 5 --seeds 5    its best again, with seeds that it never saw

  python -m search.run fff_vs_dense --address auto      on the Ray cluster that this machine is part of

  python -m search.run --resume quickstart-1            go on after Ctrl-C, kill -9 or a power cut
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    experiment: Annotated[
        str | None, typer.Argument(help="A name from --list, or the path of a Python file. Default: quickstart.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Variants that a search samples.")] = None,
    epochs: Annotated[int | None, typer.Option(help="The full horizon of every trial.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="What stops the weak trials of a search: asha, hyperband, median or none.")
    ] = None,
    grace: Annotated[int | None, typer.Option(help="Epochs before a trial may be stopped.")] = None,
    reduction: Annotated[
        int | None, typer.Option(help="asha and hyperband keep the best 1/REDUCTION of each rung.")
    ] = None,
    pooled_rungs: Annotated[bool, typer.Option("--pooled-rungs", help="One race for all kinds.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the search's sampler.")] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Training seeds of a comparison or of --confirm: a number of them, or a list such as 3,4,5 (of one: 3,)."
        ),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="tpe, random, gp, nsgaii, grid, or a class of optuna.samplers by its name.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="val_acc, and by the option again a second one, to be low: parameters, neurons_used, macs, "
            "macs_conditional or latency_seconds (measured: one image, one CPU thread of this machine)."
        ),
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of one trial, such as 0.25 or 2.")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPU cores of one trial, over all its workers.")] = None,
    workers_per_trial: Annotated[
        int | None,
        typer.Option(
            help="Processes that train one trial together. Default: one for each GPU of --gpus-per-trial, else 1."
        ),
    ] = None,
    nodes_per_trial: Annotated[
        int | None, typer.Option(help="Machines over which a trial's workers are spread evenly.")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Fix a key for every trial; repeatable.")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop cleanly after so long: 90s, 30m or 2h.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(help="Stop cleanly after so many GPU-hours.")] = None,
    storage: Annotated[str, typer.Option(help="Where results go: any SQLAlchemy URL.")] = DEFAULT_STORAGE,
    note: Annotated[str, typer.Option(help="A remark kept with the search.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag kept with the search; repeatable.")] = None,
    variants: Annotated[
        list[str] | None, typer.Option(help="A file or folder of feed-forward kinds of your own; repeatable.")
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEARCH",
            help="Tell the sampler what an earlier search found; its variants are not trained again. Repeatable.",
        ),
    ] = None,
    train_again: Annotated[
        bool, typer.Option("--train-again", help="With --warm-start: known variants may be trained again.")
    ] = False,
    tune_lr: Annotated[
        bool,
        typer.Option(
            "--tune-lr",
            help="Before the seeds that count, a comparison trains each variant once at each of some learning rates.",
        ),
    ] = False,
    lr_factors: Annotated[
        str | None,
        typer.Option(help="Those rates, as factors of each variant's own, for --tune-lr. Default: 0.5,1,2,4."),
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option(metavar="SEARCH", help="Train a search's best variants and a baseline again with fresh seeds."),
    ] = None,
    top: Annotated[int | None, typer.Option(help="How many variants --confirm trains. Default: 5.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="SEARCH", help="Go on with a search.")] = None,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="With --resume: though the space, the data or the model's code changed."),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Estimate time, GPU-hours and memory; start no search.")
    ] = False,
    watchdog: Annotated[
        float,
        typer.Option(help="Kill a trial that is silent for so many times its expected epoch, and retry it; 0: never."),
    ] = 20.0,
    dashboard: Annotated[bool, typer.Option(help="Ray's dashboard, on loopback, by a link that logs in.")] = True,
    address: Annotated[
        str | None,
        typer.Option(help="Train on a running Ray cluster: host:port, or auto for this machine's (docs/cluster.md)."),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Where trials' folders go, if not beside the database; on a cluster, a shared path."
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Name the experiments and their questions.")] = False,
    show: Annotated[str | None, typer.Option(metavar="NAME", help="An experiment's question, space, budget.")] = None,
) -> None:
    from search import command  # imports torch: not for --help
    from search.listing import list_experiments

    console = Console()
    if list_all:
        list_experiments(console)
        return
    from search.confirm import SEEDS, TOP, Wish
    from search.prepare import Overrides
    from search.tuning import FACTORS, parse_factors
    from trainer.config import parse_pairs
    from trainer.resolve import absolute_paths

    if top is not None and confirm is None:
        raise InputError("--top says how many variants --confirm SEARCH trains, so it does not go without that.")
    given_seeds = parse_seeds(seeds) if seeds is not None else None
    wish = None
    if confirm is not None:
        wanted = given_seeds if given_seeds is not None else tuple(range(SEEDS))
        listed = seeds is not None and "," in seeds
        wish = Wish(search=confirm, top=TOP if top is None else top, seeds=wanted if listed else len(wanted))
    factors = parse_factors(lr_factors) if lr_factors is not None else FACTORS
    overrides = Overrides(
        trials=trials,
        epochs=epochs,
        grace=grace,
        reduction=reduction,
        search_seed=seed,
        seeds=given_seeds,
        tune_lr=factors if tune_lr or lr_factors is not None else None,
        sampler=sampler,
        objectives=tuple(objective) if objective else None,
        scheduler=scheduler,
        pooled_rungs=True if pooled_rungs else None,
        fixed=parse_pairs(fix or []),
    )
    asked = command.Asked(
        experiment=experiment,
        resume=resume,
        confirm=wish,
        overrides=overrides,
        concurrency=concurrency,
        gpus_per_trial=gpus_per_trial,
        cpus_per_trial=cpus_per_trial,
        workers_per_trial=workers_per_trial,
        nodes_per_trial=nodes_per_trial,
        time_budget_seconds=parse_duration(time_budget) if time_budget is not None else None,
        gpu_hours=gpu_hours,
        preview=preview,
        storage=storage,
        note=note,
        tags=tuple(tag or ()),
        variants=absolute_paths(variants or ()),
        dashboard=dashboard,
        watchdog=watchdog,
        warm_start=tuple(warm_start or ()),
        train_again=train_again or None,
        accept_changes=accept_changes or None,
        address=address,
        checkpoints=checkpoints,
    )
    if show is not None:
        command.show(show, asked, console)
    else:
        command.search(asked, console)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`"3"` is 0, 1, 2; `"5,7"` is 5 and 7, and `"5,"` is 5 alone.

    Raises:
        InputError: not numbers, none, or one twice.
    """
    if not re.fullmatch(r"\d{1,18}(,\d{1,18})*,?", text):
        raise InputError(f'"--seeds" must be a number of seeds or a list such as 3,4,5, but got {text!r}.')
    numbers = tuple(int(part) for part in text.split(",") if part)
    if "," not in text:
        numbers = tuple(range(min(numbers[0], 1001)))
    if not numbers or len(set(numbers)) < len(numbers) or len(numbers) > 1000:
        raise InputError(
            '"--seeds" must be a number of seeds from 1 to 1000, or a list of so many different ones such as 3,4, '
            f"but got {text!r}."
        )
    return numbers


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `30m` or `1.5h`; a plain number is refused, since batch systems mean minutes by it.

    Raises:
        InputError: another form, or nothing above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f'"--time-budget" must be a time such as 90s, 30m or 2h, but got {text!r}.')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


if __name__ == "__main__":
    run(app, "python -m search.run")
