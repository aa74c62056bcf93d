"""`python -m trainer.measure JSON SECONDS [VARIANTS...]`: how fast trials train here, measured by training them a little.

A process of its own, for the preview of a search: the driver never holds a CUDA context, and several of these at once
contend as the search's trials will. JSON is a list of resolved flat dictionaries; the last line printed is a JSON list
with a measurement each. A trial keeps its real horizon, so its schedule and its compilation are those of the search; it
is left after SECONDS or MOST_EPOCHS, twice that where it comes to compiled code, and what it wrote is removed.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer

from results.cli import run

if TYPE_CHECKING:
    from trainer.compiled import Compilation
    from trainer.trial import Trial

PER_EPOCH = ("seconds_per_epoch", "eager_seconds_per_epoch")
SECONDS = (*PER_EPOCH, "start_seconds", "compile_seconds", "load_seconds")
"""The parts of a measurement that are seconds."""
MOST_EPOCHS = 4
EAGER_EPOCHS = 2
"""Before compiled code is taken up, as by a trial of shapes that are new: the first warms up, the other is timed."""
AFFORDABLE = 5
"""A GPU's first epoch warms it up, so a second one follows unless the first took more than so many times SECONDS."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    flats: Annotated[str, typer.Argument(metavar="JSON", help="A list of resolved flat dictionaries, as JSON.")],
    seconds: Annotated[float, typer.Argument(help="About how long to train each.")],
    variants: Annotated[list[str] | None, typer.Argument(help="Files or folders of kinds of your own.")] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Train on the GPU.")] = False,
    threads: Annotated[int, typer.Option(help="torch's CPU threads.")] = 1,
) -> None:
    """Train each trial for a few epochs in a temporary folder, and print what that took as one JSON line.

    Before it comes a line for each trial that is done.
    """
    from trainer.resolve import discover_variants

    discover_variants(variants or ())
    with contextlib.redirect_stdout(sys.stderr):
        measured: list[dict[str, Any]] = []
        began = time.time()
        for flat, compilation in begin_compiling(json.loads(flats), gpu=gpu):
            since = time.time() if measured else psutil.Process().create_time()  # what it imports is the first's
            measured.append(measure(flat, seconds, compilation, began, since, gpu=gpu, threads=threads))
            print("measured", file=sys.__stdout__, flush=True)
    print(json.dumps(measured), flush=True)


def begin_compiling(flats: list[dict[str, Any]], *, gpu: bool) -> list[tuple[dict[str, Any], Compilation]]:
    """Have the code of those trials that will repay it made, all at once, beside what follows."""
    from trainer.compiled import Compilation, compiles
    from trainer.config import TrialConfig
    from trainer.engine import device_of
    from trainer.resolve import cached_dataset

    device = device_of(gpu)
    begun = []
    for flat in flats:
        config = TrialConfig.from_flat(flat)
        compilation = Compilation(config, config.model.build(), wanted=compiles(config, device))
        compilation.start_beside(config.epochs * len(cached_dataset(config.data).train))
        begun.append((flat, compilation))
    return begun


def measure(
    flat: dict[str, Any],
    seconds: float,
    compilation: Compilation,
    began_compiling: float,
    since: float,
    *,
    gpu: bool,
    threads: int,
) -> dict[str, Any]:
    """What one trial takes, first as it starts, then by compiled code if the search would come to that.

    Seconds in `SECONDS`: of an epoch in the end, and before there is compiled code; of the start, which began at `since`
    (`time.time`), of having the code made (0 where the disk had it), and of loading it. Also the `epochs` measured, whether
    it was `compiled`, and bytes of a GPU.

    Raises:
        InputError: a bad trial, or data that are missing or damaged.
    """
    import torch

    from trainer.config import TrialConfig
    from trainer.engine import device_of
    from trainer.trial import Trial

    config, device = TrialConfig.from_flat(flat), device_of(gpu)
    with tempfile.TemporaryDirectory(prefix="arbor-preview-") as folder:
        trial = Trial(config, Path(folder), device=device, threads=threads, eager_epochs=EAGER_EPOCHS)
        started = time.time()
        try:
            eager, compiled = _epochs(trial, seconds, compilation, gpu=gpu)
            reserved = torch.cuda.max_memory_reserved(device) if gpu else None
        finally:
            trial.close()
    steady = _typical(compiled or eager)
    before = _typical(eager)
    return {
        "seconds_per_epoch": steady,
        "eager_seconds_per_epoch": before,
        "start_seconds": started - since + max(0.0, eager[0] - before),
        "compile_seconds": max(0.0, compilation.made_at - began_compiling) if compiled else 0.0,
        "load_seconds": max(0.0, compiled[0] - steady) if compiled else 0.0,
        "epochs": len(eager) + len(compiled),
        "compiled": bool(compiled),
        "gpu_memory_bytes": reserved,
        "gpu_total_bytes": torch.cuda.get_device_properties(device).total_memory if gpu else None,
    }


def _epochs(trial: Trial, seconds: float, compilation: Compilation, *, gpu: bool) -> tuple[list[float], list[float]]:
    """Seconds of each epoch before the trial has compiled code, and of each after."""
    eager: list[float] = []
    compiled: list[float] = []
    images = trial.steps_an_epoch * trial.config.batch_size
    waited = False
    mark = time.perf_counter()
    for report in trial.reports():
        own = compiled if report.row.extra.get("compiled") else eager
        own.append(time.perf_counter() - mark)
        if not _goes_on(len(own), sum(own), seconds, gpu=gpu):
            if own is compiled or waited:
                break
            waited = True
            images_left = (trial.config.epochs - trial.epoch) * images
            compilation.wait(images_left)
            if not compilation.repays(images_left):
                break
        mark = time.perf_counter()
    return eager, compiled


def _goes_on(epochs: int, elapsed: float, seconds: float, *, gpu: bool) -> bool:
    if epochs >= MOST_EPOCHS:
        return False
    return elapsed < seconds or (gpu and epochs < 2 and elapsed < AFFORDABLE * seconds)


def _typical(epochs: list[float]) -> float:
    """The median but for the first, which starts or loads something."""
    return statistics.median(epochs[1:] or epochs)


if __name__ == "__main__":
    run(app, "python -m trainer.measure")
