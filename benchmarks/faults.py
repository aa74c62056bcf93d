"""`python -m benchmarks.faults`: kills a search's processes at random moments until it ends, then audits what is left."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from results.cli import run
from results.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

HELP = """\
Kill -9 a search's driver, its trials' workers, and Ray's own processes, at random moments, start-up among them. Resume each
time until the search ends. Then prove that no epoch was lost or doubled, that every decision follows from the rule, that no
process, socket, shared memory or temporary file is left, and (one trial at a time) that a search of the same seed which
nobody touched has the same table, suggestions and decisions. Searches follow one another until the kills are done.

What stands after `--` goes to search.run. Exit code 0 where nothing is wrong, 1 with each fault named.

Examples:

  python -m benchmarks.faults --kills 50

  python -m benchmarks.faults --kills 5 --concurrency 4 --experiment quickstart --json faults.json

  python -m benchmarks.faults --kills 20 --keep killed -- --trials 6 --set lr=1e-3
"""
EXPERIMENT = '''\
from search.experiment import Experiment
from search.space import suggest_ffn


def faults() -> Experiment:
    """Which of some small models reads digits best, whatever dies meanwhile?"""
    return Experiment(
        base={"data": "digits", "batch_size": 64, "patch": 8, "dim": 32, "depth": 2, "heads": 2, "epochs": 8},
        space=space,
        ranges={"ffn.mlp.hidden": (8, 64), "ffn.fff.depth": (1, 3), "ffn.fff.trees": (1, 2)},
        trials=8,
        grace=2,
        reduction=2,
        threads=1,
    )


def space(scope):
    return {**suggest_ffn(scope, ("mlp", "fff")), "lr": scope.float("lr", 1e-3, 1e-2, log=True)}
'''


@app.command(help=HELP)
def main(
    options: Annotated[
        list[str] | None, typer.Argument(metavar="-- [OPTIONS]", help="Further options of search.run.")
    ] = None,
    kills: Annotated[int, typer.Option(help="Processes to kill.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the moments and targets.")] = 0,
    experiment: Annotated[
        str | None, typer.Option(help="A name or a file, as for search.run. Default: a small search on digits.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Trials at once; the comparison needs 1.")] = 1,
    output: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Work in this new folder, and leave store and log there.")
    ] = None,
) -> None:
    from benchmarks.fault_campaign import Campaign

    if kills < 1:
        raise InputError(f'"--kills" must be at least 1, but got {kills}.')
    if concurrency < 1:
        raise InputError(f'"--concurrency" must be at least 1, but got {concurrency}.')
    if keep is not None and keep.exists():
        raise InputError(f'"--keep" must be a new folder, but {keep} exists; name another one.')
    if output not in (None, "-") and not Path(output).resolve().parent.is_dir():
        raise InputError(f"The folder of {output} does not exist; make it, or name another file.")
    if experiment is not None and Path(experiment).is_file():
        experiment = str(Path(experiment).resolve())
    folder = Path(tempfile.mkdtemp(prefix="arbor-faults-")) if keep is None else keep.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if experiment is None:
        (folder / "faults.py").write_text(EXPERIMENT)
        experiment = "faults.py"
    console = Console(stderr=output == "-")
    columns = (
        TextColumn("kills"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("kills", total=kills, doing="")

        def step(line: str) -> None:
            progress.update(task, doing=line, completed=len(campaign.outcome.kills))
            if not console.is_terminal:
                console.print(f"{len(campaign.outcome.kills)}/{kills} {line}", highlight=False, soft_wrap=True)

        campaign = Campaign(
            folder,
            [experiment, "--concurrency", str(concurrency), *(options or ())],
            kills=kills,
            seed=seed,
            on_step=step,
        )
        outcome = campaign.run(compare=concurrency == 1)
    plain: dict[str, Any] = {
        **asdict(outcome), "by_target": outcome.by_target, "seed": seed, "concurrency": concurrency, "options": options or []
    }  # fmt: skip
    if output == "-":
        print(json.dumps(plain, indent=1))
    elif output is not None:
        Path(output).write_text(json.dumps(plain, indent=1))
    by_target = ", ".join(f"{count} {target}" for target, count in sorted(outcome.by_target.items()))
    early = sum(kill.epochs == 0 for kill in outcome.kills)
    console.print(
        f"{len(outcome.kills)} kills ({by_target}; {early} before the first report) in {len(outcome.searches)} searches of "
        f"{outcome.epochs} epochs: {outcome.resumes} resumes, {outcome.own_restarts} restarts of Ray by the driver itself, "
        f"{outcome.seconds:.0f} s; the last process was gone after {outcome.gone_seconds:.0f} s.",
        highlight=False,
        soft_wrap=True,
    )
    for fault in outcome.faults:
        console.print(f"  - {fault}", highlight=False, markup=False, soft_wrap=True)
    beside = "; as an untouched search, decision for decision" if outcome.compared else ""
    good = not outcome.faults
    console.print(
        f"Verdict: nothing lost, nothing doubled, nothing left{beside}."
        if good
        else f"Verdict: {len(outcome.faults)} faults.",
        highlight=False,
    )
    if keep is None and good:
        shutil.rmtree(folder)
    else:
        console.print(f"Store and log: {folder}", highlight=False, markup=False, soft_wrap=True)
    if not good:
        sys.exit(1)


if __name__ == "__main__":
    run(app, "python -m benchmarks.faults")
