"""`python -m benchmarks.campaign FOLDER STEP ...`: what results/LOG.md says of a GPU, measured again step by step.

Each step is a few commands, each within its time limit, whose output goes to FOLDER/STEP.log; searches keep their rows in
FOLDER/arbor.db. A command that fails or outlasts its limit costs the rest of its step, not the others. FOLDER/seconds.json
has what each command took, which is what a search's `--preview` is held against.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from results.cli import run
from results.errors import InputError
from results.text import plain

PYTEST = "pytest -q -s --durations=10"
TAIL_LINES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Commands in order, as arguments of `python -m`; `{folder}` is the campaign's."""

    what: str
    seconds: float
    """Limit of each command."""
    commands: tuple[str, ...]


def _priced(what: str, seconds: float, arguments: str) -> Step:
    return Step(
        what=what,
        seconds=seconds,
        commands=(f"search.run {arguments} --preview", f"search.run {arguments} --no-dashboard"),
    )


_SHORT_ASHA = "fff_vs_dense --trials 12 --concurrency 2 --set optimizer=adamw --set batch_size=1024"
_FAULTS = (
    "benchmarks.faults --kills 5 --concurrency 4 --experiment fff_vs_dense --keep {folder}/killed "
    "--json {folder}/faults.json -- --trials 16 --epochs 9 --set batch_size=1024"
)
STEPS = {
    "tests": Step(
        what="GPU tests of models, trials and the preview",
        seconds=300,
        commands=(
            "pytest -q -n 5 -m gpu tests/arch_space tests/trainer -k 'not memory_back'",
            "pytest -q -m gpu tests/trainer -k memory_back",
            f"{PYTEST} -m 'not slow and not long' tests/search/test_preview.py -k gpu",
            f"{PYTEST} -m gpu tests/search/test_lost_gpu.py",
        ),
    ),
    "start": Step(what="process start to the first step", seconds=200, commands=("benchmarks start",)),
    "epoch": Step(what="an epoch against its references", seconds=240, commands=("benchmarks epoch --epochs 5",)),
    "kinds": Step(what="an epoch of each kind", seconds=240, commands=("benchmarks kinds --epochs 3",)),
    "profile": Step(
        what="where an epoch's time goes",
        seconds=120,
        commands=("benchmarks profile --epochs 3 --picture {folder}/profile.png",),
    ),
    "optimizers": Step(what="optimizers and determinism", seconds=200, commands=("benchmarks optimizers --epochs 3",)),
    "accuracy": Step(what="seconds to the predecessor's accuracy", seconds=400, commands=("benchmarks accuracy",)),
    "search": Step(what="trials an hour, 1, 2 and 4 at once", seconds=400, commands=("benchmarks search",)),
    "rates": _priced("learning rates, priced before", 300, "rate_screen --concurrency 1"),
    "asha": _priced("a search under ASHA, priced before", 300, _SHORT_ASHA),
    "recipes": _priced("what each recipe reaches in 30 epochs, priced before", 400, "recipes"),
    "short": _priced("how few epochs the predecessor's accuracy needs, priced before", 400, "short"),
    "minute": Step(
        what="the best recipe in 60 s of training",
        seconds=300,
        commands=("search.run minute --no-dashboard",),
    ),
    "five-minutes": Step(
        what="what keeps 300 s of training from overfitting, one seed each",
        seconds=1100,
        commands=("search.run five_minutes --no-dashboard",),
    ),
    "budget": Step(
        what="a search that its GPU-hours end",
        seconds=120,
        commands=("search.run baseline --gpu-hours 0.01 --no-dashboard",),
    ),
    "faults": Step(
        what="a search of four at once, killed five times",
        seconds=580,
        commands=(_FAULTS,),
    ),
    "gang-tests": Step(
        what="gangs on two GPUs, with and without ZeRO, stopped, lost, orphaned",
        seconds=400,
        commands=tuple(
            f"{PYTEST} -m gpu tests/search/test_gang_gpu.py -k {part}" for part in ("curve", "twelve", "frees")
        ),
    ),
    "gangs": Step(
        what="one trial on one GPU and on two",
        seconds=200,
        commands=tuple(f"search.run gangs --gpus-per-trial {count} --concurrency 1 --no-dashboard" for count in (1, 2)),
    ),
    "both-cards": Step(
        what="one-GPU trials one after another, and on two GPUs at once",
        seconds=240,
        commands=tuple(
            f"search.run fast --epochs 40 --seeds {3 * count} --concurrency {count} --no-dashboard" for count in (1, 2)
        ),
    ),
    "tree-or-dense": Step(
        what="the study of a tree against dense layers",
        seconds=1500,
        commands=("search.run tree_or_dense --concurrency 2 --no-dashboard",),
    ),
    "whole-space": Step(
        what="one search over all kinds, its three best confirmed",
        seconds=1500,
        commands=(
            "search.run search_all --concurrency 4 --no-dashboard",
            "search.run --confirm search_all-1 --top 3 --seeds 3 --concurrency 4 --no-dashboard",
        ),
    ),
}


def run_step(name: str, step: Step, folder: Path) -> Iterator[tuple[str, int | None, float]]:
    """Each command of a step, its exit code (none: it outlasted its limit) and its seconds, up to the first that fails."""
    with (folder / f"{name}.log").open("a") as log:
        for command in step.commands:
            arguments = shlex.split(command.format(folder=folder))
            if arguments[0] == "search.run":
                arguments += ["--storage", f"sqlite:///{folder.resolve()}/arbor.db"]
            log.write(f"$ python -m {shlex.join(arguments)}\n")
            log.flush()
            began = time.monotonic()
            code = _run_within(step.seconds, [sys.executable, "-m", *arguments], log.fileno())
            seconds = time.monotonic() - began
            log.write(f"({'over its limit' if code is None else f'exit code {code}'} after {seconds:.1f} s)\n")
            log.flush()
            yield command, code, seconds
            if code != 0:
                return


def _run_within(limit: float, command: list[str], output: int) -> int | None:
    environment = {"COLUMNS": "140", "PYTHONUNBUFFERED": "1", **os.environ}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)  # a search then leaves nothing behind
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _tail(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"    {plain(line)}" for line in lines[-TAIL_LINES:])


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

HELP = """\
Measure on this machine's GPUs what results/LOG.md says of others, step by step; without steps, list them.

Examples:

  python -m benchmarks.campaign measured

  python -m benchmarks.campaign measured epoch kinds start

  CUDA_VISIBLE_DEVICES=1 python -m benchmarks.campaign measured-1 accuracy
"""


@app.command(help=HELP)
def main(
    folder: Annotated[Path, typer.Argument(help="Where logs, rows and pictures go; made if absent.")],
    step: Annotated[list[str] | None, typer.Argument(help="Steps, in order.")] = None,
) -> None:
    """Run the steps; exit code 1 where a command failed."""
    if not step:
        for name, each in STEPS.items():
            typer.echo(f"{name:<14} {each.what}")
        return
    if unknown := [name for name in step if name not in STEPS]:
        raise InputError(f"There is no step {unknown[0]!r}; known: {', '.join(STEPS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "seconds.json"
    took: list[dict[str, object]] = json.loads(record.read_text()) if record.exists() else []
    failed = False
    for name in step:
        typer.echo(f"{time.strftime('%H:%M:%S')} {name}: {STEPS[name].what}")
        for command, code, seconds in run_step(name, STEPS[name], folder):
            took.append({"step": name, "command": command, "code": code, "seconds": round(seconds, 1)})
            record.write_text(json.dumps(took, indent=1))
            typer.echo(f"  {seconds:7.1f} s  {'over its limit' if code is None else f'exit {code}'}  {command}")
            failed |= code != 0
        typer.echo(_tail(folder / f"{name}.log"))
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(app, "python -m benchmarks.campaign")
