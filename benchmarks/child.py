"""One timed process: `python -m benchmarks.child MODE JSON EPOCHS`.

Prints READY when it is warm, waits for a line on its standard input, so that several can be timed at once, and prints
its figures as one line of JSON. Modes:

    trial          the real trial: DALI, DeepSpeed, evaluation, checkpoint, an epoch's report
    constant       the same, each batch replaced by one that lies in memory
    engine         the DeepSpeed engine's steps alone, on a constant batch
    bare           our own loop without DeepSpeed, same model, optimizer, compilation and recording, constant batch
    bare_no_graph  the same called step by step
    loader         DALI's training batches alone, nothing trained
    seed_style     a loop in the manner of cifar10deepspeed (benchmarks/seed_style.py)
    phases         kernels' seconds in each phase of a step (benchmarks/phases.py), scaled to an epoch
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from arch_space.initialise import initialise
from benchmarks.phases import phase_seconds
from benchmarks.work import full_dataset, initialised_engine
from trainer import compiled
from trainer.config import TrialConfig
from trainer.engine import device_of
from trainer.evaluation import EVALUATION_BATCH, autocast
from trainer.input_pipeline import Batch, TrainLoader
from trainer.optimizer import build_optimizer, set_rate
from trainer.schedule import steps_per_epoch
from trainer.step import EngineStep, GraphedStep, smoothed_cross_entropy
from trainer.trial import Trial

WARM_EPOCHS = 2
PLAIN_SIZE = 50_000
"""Images to which training times are scaled: what an epoch leaves over as its last short batch counts as trained."""


class Constant:
    """In place of a loader: batches that lie in memory."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def epoch(self) -> Iterator[Batch]:
        return iter(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    def close(self) -> None:
        """Nothing is held."""


class Bare:
    """As much of an engine as `EngineStep` calls, in plain PyTorch."""

    def __init__(self, config: TrialConfig, device: torch.device) -> None:
        self.module = config.model.build()
        initialise(self.module, config.seed)
        self.module.to(device)
        self.optimizer = build_optimizer(self.module, config, device)
        self.micro_steps = 0
        self._device, self._precision, self._accumulation = device, config.precision, config.accumulation

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(self._device, self._precision):
            return self.module(images)

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self._accumulation).backward()

    def is_gradient_accumulation_boundary(self) -> bool:
        return (self.micro_steps + 1) % self._accumulation == 0

    def step(self) -> None:
        if self.is_gradient_accumulation_boundary():
            self.optimizer.step()
            self.zero_grad()
        self.micro_steps += 1

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()


def _wait_for_the_start() -> None:
    print("READY", flush=True)
    sys.stdin.readline()


def _constant_batch(config: TrialConfig, images: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    size = config.model.image_size
    return Batch(
        torch.randn(images, 3, size, size, generator=generator).to(device),
        torch.randint(config.model.classes, (images,), generator=generator).to(device),
    )


def _scale(trained: int, device: torch.device) -> float:
    """From the images that an epoch of whole batches trains to `PLAIN_SIZE`; the digits on a CPU are left as they are."""
    return PLAIN_SIZE / trained if device.type == "cuda" else 1.0


def _reserved(device: torch.device) -> int | None:
    return torch.cuda.max_memory_reserved() if device.type == "cuda" else None


def time_trial(config: TrialConfig, epochs: int, *, constant: bool) -> dict[str, Any]:
    """Seconds from report to report of a real trial."""
    device = device_of(torch.cuda.is_available())
    if device.type == "cuda" and config.compile:
        compiled.REPAYS_LOADING = 0
        compiled.Compilation(config, config.model.build(), wanted=True).finish()
    data = full_dataset(config.data)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(config, Path(folder), device=device, threads=1, dataset=data)
        if constant:
            batch = _constant_batch(config, config.micro_batch, device)
            trial.train_loader.close()
            trial.train_loader = cast(Any, Constant([batch] * (trial.steps_an_epoch * config.accumulation)))
            whole, rest = divmod(len(data.val), EVALUATION_BATCH)
            sizes = [EVALUATION_BATCH] * whole + [rest] * bool(rest)
            trial._val_loader.close()
            trial._val_loader = cast(Any, Constant([_constant_batch(config, size, device) for size in sizes]))
        reports = trial.reports()
        for _ in range(WARM_EPOCHS):
            next(reports)
        _wait_for_the_start()
        at, rows = [time.perf_counter()], []
        for _ in range(epochs):
            rows.append(next(reports).row)
            at.append(time.perf_counter())
        trained = trial.steps_an_epoch * config.batch_size
        scale = _scale(trained, device)
        train = statistics.median(row.train_seconds for row in rows)
        val = statistics.median(row.val_seconds for row in rows)
        epoch = statistics.median(b - a for a, b in itertools.pairwise(at))
        memory = _reserved(device)
        trial.close()
    return {
        "epoch_seconds": epoch + (scale - 1) * train,
        "train_seconds": train * scale,
        "val_seconds": val,
        "images_per_second": trained / train,
        "memory_bytes": memory,
        "compiled": bool(rows[-1].extra.get("compiled")),
    }


def _median_seconds(epoch: Callable[[], object], epochs: int, device: torch.device) -> float:
    """Of so many epochs, after those that warm up and the start."""

    def timed() -> float:
        began = time.perf_counter()
        epoch()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(WARM_EPOCHS):
        timed()
    _wait_for_the_start()
    return statistics.median(timed() for _ in range(epochs))


def time_steps(config: TrialConfig, epochs: int, *, bare: bool, graph: bool) -> dict[str, Any]:
    """Steps of training on one batch in memory, without evaluation and reports."""
    device = device_of(torch.cuda.is_available())
    engine: Any = Bare(config, device) if bare else initialised_engine(config, device)
    if device.type == "cuda" and config.compile:
        compiled.compile_regions(engine.module)

    step: Any = EngineStep(engine, smoothed_cross_entropy(config.label_smoothing), config.clip_norm, device)
    if graph and device.type == "cuda":
        step = GraphedStep(step)
    engine.module.train()
    batches = [_constant_batch(config, config.micro_batch, device)] * config.accumulation
    data = full_dataset(config.data)
    steps = steps_per_epoch(len(data.train), config.batch_size)

    def epoch() -> None:
        for _ in range(steps):
            set_rate(engine.optimizer, config.lr)
            step(batches)

    seconds = _median_seconds(epoch, epochs, device)
    trained = steps * config.batch_size
    scaled = seconds * _scale(trained, device)
    return {
        "epoch_seconds": scaled,
        "train_seconds": scaled,
        "images_per_second": trained / seconds,
        "memory_bytes": _reserved(device),
        "compiled": device.type == "cuda" and config.compile,
    }


def time_loader(config: TrialConfig, epochs: int) -> dict[str, Any]:
    """Batches of training as fast as they come; what a step may not undercut without waiting for them."""
    device = device_of(torch.cuda.is_available())
    data = full_dataset(config.data)
    loader = TrainLoader(
        data.train,
        dataset=data,
        batch_size=config.micro_batch,
        augment=config.augment,
        seed=config.seed,
        device=device,
    )

    seconds = _median_seconds(lambda: deque(loader.epoch(), maxlen=0), epochs, device)
    trained = loader.steps_per_epoch * config.micro_batch
    loader.close()
    return {"epoch_seconds": seconds * _scale(trained, device), "images_per_second": trained / seconds}


def time_phases(config: TrialConfig) -> dict[str, Any]:
    """Seconds an epoch spends in each phase of its steps, and in the kernels that take longest."""
    device = device_of(torch.cuda.is_available())
    steps = steps_per_epoch(len(full_dataset(config.data).train), config.batch_size)
    figures = phase_seconds(config, _constant_batch(config, config.micro_batch, device), device)
    scale = steps * _scale(steps * config.batch_size, device)
    kernels = {name: seconds * scale for name, seconds in figures.pop("kernels", {}).items()}
    return {**{name: seconds * scale for name, seconds in figures.items()}, "kernels": kernels}


def _main(mode: str, flat: str, epochs: str) -> None:
    config, count = TrialConfig.from_flat(json.loads(flat)), int(epochs)
    if mode in ("trial", "constant"):
        figures = time_trial(config, count, constant=mode == "constant")
    elif mode == "loader":
        figures = time_loader(config, count)
    elif mode == "phases":
        _wait_for_the_start()
        figures = time_phases(config)
    elif mode == "seed_style":
        from benchmarks.seed_style import time_seed_style

        figures = time_seed_style(config, count, _wait_for_the_start)
    else:
        figures = time_steps(config, count, bare=mode != "engine", graph=mode != "bare_no_graph")
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
