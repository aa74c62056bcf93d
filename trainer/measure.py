"""`python -m trainer.measure JSON SECONDS [VARIANTS...]`: how fast trials train here, measured by training them a little.

A process of its own, for the preview of a search: the driver never holds a CUDA context, and several of these at once
contend as the search's trials will. JSON is a list of resolved flat dictionaries; the last line printed is a JSON list
with a measurement each. A trial keeps its real horizon, so its schedule and its compilation are those of the search; it
is left after SECONDS or MOST_EPOCHS, and what it wrote is removed.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from results.cli import run

MOST_EPOCHS = 4
AFFORDABLE = 5
"""A GPU's first epochs warm it up, so another one follows unless they took more than so many times SECONDS."""

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
        compile_first(json.loads(flats), gpu=gpu)
        measured = []
        for flat in json.loads(flats):
            measured.append(measure(flat, seconds, gpu=gpu, threads=threads))
            print("measured", file=sys.__stdout__, flush=True)
    print(json.dumps(measured), flush=True)


def compile_first(flats: list[dict[str, Any]], *, gpu: bool) -> None:
    """Have the code of trials that will repay it made, all at once: else eager epochs would be measured for compiled ones.

    The search finds the code on disk.
    """
    from trainer.compiled import Compilation, compiles
    from trainer.config import TrialConfig
    from trainer.engine import device_of
    from trainer.resolve import cached_dataset

    configs = [TrialConfig.from_flat(flat) for flat in flats]
    device = device_of(gpu)
    compilations = [Compilation(config, config.model.build(), wanted=compiles(config, device)) for config in configs]
    images = [config.epochs * len(cached_dataset(config.data).train) for config in configs]
    for compilation, count in zip(compilations, images, strict=True):
        compilation.start_beside(count)
    for compilation, count in zip(compilations, images, strict=True):
        compilation.wait(count)


def measure(flat: dict[str, Any], seconds: float, *, gpu: bool, threads: int) -> dict[str, Any]:
    """What one trial takes: `seconds_per_epoch`, `start_seconds`, `epochs` measured, and a GPU's memory in bytes.

    Raises:
        InputError: a bad trial, or data that are missing or damaged.
    """
    import torch

    from trainer.config import TrialConfig
    from trainer.engine import device_of
    from trainer.trial import Trial

    device = device_of(gpu)
    with tempfile.TemporaryDirectory(prefix="arbor-preview-") as folder:
        began = time.perf_counter()
        trial = Trial(TrialConfig.from_flat(flat), Path(folder), device=device, threads=threads)
        marks = [time.perf_counter()]
        warm_up = 1
        try:
            for report in trial.reports():
                marks.append(time.perf_counter())
                warm_up = 2 if report.row.extra.get("compiled") else 1  # the second epoch takes up the code
                needed = warm_up + 1 if gpu else 1
                if not _goes_on(len(marks) - 1, marks[-1] - began, seconds, needed):
                    break
            reserved = torch.cuda.max_memory_reserved(device) if gpu else None
        finally:
            trial.close()
    epochs = [after - before for before, after in pairwise(marks)]
    typical = statistics.median(epochs[warm_up:] or epochs[-1:])
    warm_up = min(warm_up, len(epochs))
    return {
        "seconds_per_epoch": typical,
        "start_seconds": max(0.0, marks[warm_up] - began - warm_up * typical),
        "epochs": len(epochs),
        "gpu_memory_bytes": reserved,
        "gpu_total_bytes": torch.cuda.get_device_properties(device).total_memory if gpu else None,
    }


def _goes_on(epochs: int, elapsed: float, seconds: float, needed: int) -> bool:
    if epochs >= MOST_EPOCHS:
        return False
    return elapsed < seconds or (epochs < needed and elapsed < AFFORDABLE * seconds)


if __name__ == "__main__":
    run(app, "python -m trainer.measure")
