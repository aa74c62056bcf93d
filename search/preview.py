"""What a search would cost, before it is started: its epochs by simulation, their seconds by measurement.

Nothing is trained for the record. A few variants train for some seconds in processes of their own
(`trainer.measure`), as many at once as the search would run; the store keeps what they took, so that the next preview
of the same trials on the same machine and code is immediate.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch_space.cost import cost
from results.errors import InputError
from results.store import Store
from search.asha import Asha
from search.experiment import Experiment, comparison_plan
from search.prepare import Checked
from search.resources import Resources
from search.sampler import Sampler
from trainer.config import Flat, TrialConfig
from trainer.fingerprint import fingerprint, source_hash, variant_source
from trainer.resolve import resolve

RAY_START_SECONDS = 10.0
"""An estimate, not measured: Ray's start on an idle machine."""
WARM_START_SECONDS = 0.5
"""An estimate, not measured: what a trial costs before its first epoch in a worker that has trained another."""
MEASURE_SECONDS = 6.0
SIMULATIONS = 50
MEASURED_VARIANTS = 3
CONTEXT_BYTES = int(0.6 * 2**30)
"""What CUDA takes of a card for each process, beside what torch reserves."""
USABLE = 0.95
"""The part of a card's memory that trials may fill."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One trial that the search would train, or one like it."""

    config: TrialConfig
    group: str
    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one variant took here, and since when the store has known it (none: measured just now)."""

    planned: Planned
    values: dict[str, Any]
    kept: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What the search would take."""

    epochs: float
    trial_seconds: float
    """Of all trials together."""
    gpu_hours: float
    wall_seconds: float


def preview(store: Store, new: Checked, variants: Sequence[str], console: Console) -> None:
    """Print what a new search would cost. Makes no search; keeps its measurements in the store.

    Raises:
        InputError: a variant that cannot be trained here.
    """
    trials = plan(new)
    measured = measurements(store, new, trials, variants, console)
    epochs = expected_epochs(new.experiment, [trial.group for trial in trials], new.resources.concurrency)
    estimated = estimate(trials, epochs, measured, new.resources)
    console.print(Text(new.experiment.question, style="bold"))
    console.print(_table(new, trials, measured, estimated))
    _print_sources(new, measured, console)


def plan(new: Checked) -> list[Planned]:
    """The trials of a comparison; of a search, as many as it would sample, drawn without knowing any result."""
    experiment = new.experiment
    if experiment.is_comparison:
        flats: list[Flat] = comparison_plan(experiment)
    else:
        sampler = Sampler(experiment, new.startup_trials)
        asked = (sampler.ask(number) for number in range(1, experiment.trials + 1))
        flats = [flat for flat in asked if flat is not None]
    trials = []
    for flat in flats:
        config = resolve(flat, on_gpu=new.resources.gpus_per_trial > 0, header=new.header)
        price = cost(config.model)
        group = "all" if experiment.pooled_rungs else str(config.to_flat()["ffn"])
        trials.append(Planned(config=config, group=group, parameters=price.parameters, macs=price.macs))
    return trials


# epochs


def expected_epochs(experiment: Experiment, groups: Sequence[str], concurrency: int) -> list[float]:
    """Epochs of each trial: the horizon in a comparison, the mean over simulated searches where ASHA stops some."""
    if experiment.is_comparison:
        return [float(experiment.epochs)] * len(groups)
    totals = [0] * len(groups)
    for seed in range(SIMULATIONS):
        for number, epochs in enumerate(simulate(experiment, groups, concurrency, random.Random(seed))):
            totals[number] += epochs
    return [total / SIMULATIONS for total in totals]


def simulate(experiment: Experiment, groups: Sequence[str], concurrency: int, chance: random.Random) -> list[int]:
    """Epochs of each trial in one search by ASHA, all live trials an epoch a round.

    Each trial has a quality, independent of the others', which is its value at every rung.
    """
    scheduler = Asha(experiment.grace, experiment.reduction, experiment.epochs)
    quality = [chance.random() for _ in groups]
    epochs = [0] * len(groups)
    waiting, live = list(range(len(groups)))[::-1], list[int]()
    while waiting or live:
        while waiting and len(live) < concurrency:
            live.append(waiting.pop())
        chance.shuffle(live)  # the order of arrival decides, and is nobody's choice
        staying = []
        for trial in live:
            epochs[trial] += 1
            stop = scheduler.judge(groups[trial], epochs[trial], quality[trial]).stop
            if not stop and epochs[trial] < experiment.epochs:
                staying.append(trial)
        live = staying
    return epochs


# seconds


def chosen(trials: Sequence[Planned]) -> list[Planned]:
    """The cheapest, the median and the dearest trial by multiply-adds; fewer where those are equal."""
    by_macs = {trial.macs: trial for trial in reversed(trials)}  # the first of each
    ordered = [by_macs[macs] for macs in sorted(by_macs)]
    if len(ordered) <= MEASURED_VARIANTS:
        return ordered
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def at_once(resources: Resources, trials: int) -> int:
    """Trials that share one GPU, or the cores, while the search runs; so many are measured at once."""
    slots = min(resources.concurrency, trials)
    if resources.gpus_per_trial:
        return min(slots, max(1, int(1 / resources.gpus_per_trial + 1e-9)))
    return min(slots, resources.cpus)


def measurements(
    store: Store, new: Checked, trials: Sequence[Planned], variants: Sequence[str], console: Console
) -> list[Measurement]:
    """What the chosen variants take, by multiply-adds: from the store where it knows, else measured now and kept."""
    together = at_once(new.resources, len(trials))
    picked = chosen(trials)
    keys = {trial.macs: _key(new, trial, together) for trial in picked}
    known = {macs: found for macs, key in keys.items() if (found := store.measurement(key)) is not None}
    missing = [trial for trial in picked if trial.macs not in known]
    fresh: dict[int, dict[str, Any]] = {}
    if missing:
        with console.status(f"Measuring {len(missing)} variants, {together} at once ..."):
            # one process for all, or several in step on one variant after another
            for part in [missing] if together == 1 else [[trial] for trial in missing]:
                for trial, values in zip(part, _measured(part, together, new.resources, variants), strict=True):
                    store.keep_measurement(keys[trial.macs], values)
                    fresh[trial.macs] = values
    result = []
    for trial in picked:
        if trial.macs in fresh:
            result.append(Measurement(planned=trial, values=fresh[trial.macs], kept=None))
        else:
            created, values = known[trial.macs]
            result.append(Measurement(planned=trial, values=values, kept=f"{created.astimezone():%Y-%m-%d %H:%M}"))
    return result


def _key(new: Checked, trial: Planned, together: int) -> str:
    """What a measurement depends on: the trial but for its seed, the device, its neighbours, the code, the data."""
    import torch

    resources = new.resources
    machine = fingerprint(torch.device("cuda" if resources.gpus_per_trial else "cpu"), resources.threads)
    flat = {key: value for key, value in trial.config.to_flat().items() if key != "seed"}
    parts = [
        sorted(flat.items()),
        machine["gpu"] or machine["cpu"],
        together,
        source_hash(),
        resources.threads,
        new.header.checksum,
        variant_source(type(trial.config.model.ffn)),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _measured(
    part: Sequence[Planned], together: int, resources: Resources, variants: Sequence[str]
) -> list[dict[str, Any]]:
    """Run `trainer.measure` on the variants in so many processes at once; for each variant, the mean of them."""
    flats = json.dumps([trial.config.to_flat() for trial in part])
    command = [sys.executable, "-m", "trainer.measure", "--threads", str(resources.threads)]
    command += ["--gpu"] if resources.gpus_per_trial else []
    command += ["--", flats, str(MEASURE_SECONDS), *variants]
    answers = [json.loads(line) for line in _run_together(command, together, resources.threads)]
    return [_mean([answer[number] for answer in answers]) for number in range(len(part))]


def _run_together(command: Sequence[str], together: int, threads: int) -> list[str]:
    """The last line that each of so many equal processes prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with ExitStack() as stack:
        children = []
        for _ in range(together):
            out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
            stack.callback(child.wait)
            stack.callback(child.kill)  # where another failed, or after Ctrl-C; does nothing to one that has ended
            children.append((child, out, err))
        lines = []
        for child, out, err in children:
            code = child.wait()
            for file in (out, err):
                file.seek(0)
            if code != 0:
                said = [line.strip() for line in err if line.strip()]
                reason = said[-1].removeprefix("Error: ").rstrip(".") if said else f"its process ended with code {code}"
                raise InputError(f"A variant cannot be trained here, so there is no preview: {reason}.")
            lines.append(out.read().splitlines()[-1])
    return lines


def _mean(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = {name: statistics.fmean(each[name] for each in answers) for name in ("seconds_per_epoch", "start_seconds")}
    rest = {name: answers[0][name] for name in ("epochs", "gpu_total_bytes")}
    memory = [each["gpu_memory_bytes"] for each in answers if each["gpu_memory_bytes"] is not None]
    return {**values, **rest, "gpu_memory_bytes": max(memory, default=None)}


def seconds_per_epoch(macs: int, measured: Sequence[Measurement]) -> float:
    """Of a variant with so many multiply-adds: linear between those that were measured."""
    points = [(each.planned.macs, float(each.values["seconds_per_epoch"])) for each in measured]
    for (low, before), (high, after) in pairwise(points):
        if low <= macs <= high:
            return before + (after - before) * (macs - low) / (high - low)
    return points[0][1] if macs <= points[0][0] else points[-1][1]


def estimate(
    trials: Sequence[Planned], epochs: Sequence[float], measured: Sequence[Measurement], resources: Resources
) -> Estimate:
    """Epochs times seconds, and what that makes of GPU-hours and of time on the wall."""
    slots = min(resources.concurrency, len(trials))
    # processes that had no core of their own were not measured: they would share
    crowded = 1.0 if resources.gpus_per_trial else slots / at_once(resources, len(trials))
    each = [
        count * seconds_per_epoch(trial.macs, measured) * crowded + WARM_START_SECONDS
        for trial, count in zip(trials, epochs, strict=True)
    ]
    start = max(float(one.values["start_seconds"]) for one in measured)
    wall = RAY_START_SECONDS + start + max(sum(each) / slots, max(each))
    return Estimate(
        epochs=sum(epochs),
        trial_seconds=sum(each),
        gpu_hours=resources.gpus_per_trial * (sum(each) + slots * start) / 3600,
        wall_seconds=wall,
    )


# what is printed


def _table(new: Checked, trials: Sequence[Planned], measured: Sequence[Measurement], estimated: Estimate) -> Table:
    experiment, resources = new.experiment, new.resources
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)

    def row(what: str, text: str) -> None:
        table.add_row(Text(what, style="bold"), Text(text))

    if experiment.is_comparison:
        variants = len(trials) // len(experiment.seeds)
        row("trials", f"{len(trials)} ({variants} variants x {len(experiment.seeds)} seeds)")
        row("expected epochs", f"{estimated.epochs:.0f} (every trial trains {experiment.epochs})")
    else:
        row("trials", f"{len(trials)} (as many variants, sampled)")
        most = len(trials) * experiment.epochs
        row("expected epochs", f"{estimated.epochs:.0f} of at most {most} (mean of {SIMULATIONS} simulations of ASHA)")
    row("parameters", _from_to([trial.parameters for trial in trials]))
    speeds = [float(each.values["seconds_per_epoch"]) for each in measured]
    low, high = f"{min(speeds):.3g}", f"{max(speeds):.3g}"
    together = at_once(resources, len(trials))
    beside = f", {together} at once" if together > 1 else ""
    row(
        "seconds per epoch", f"{low if low == high else f'{low} to {high}'} ({len(measured)} variants measured{beside})"
    )
    row("start seconds", f"{max(float(each.values['start_seconds']) for each in measured):.1f}")
    row("GPU-hours", f"{estimated.gpu_hours:.3g}" if resources.gpus_per_trial else "0 (trials on the CPU)")
    row("wall time", f"{_duration(estimated.wall_seconds)} with {resources.concurrency} at once")
    if resources.gpus_per_trial:
        peak = max(int(each.values["gpu_memory_bytes"]) for each in measured)
        fit = fitting(int(measured[0].values["gpu_total_bytes"]), peak)
        row("GPU memory of a trial", f"{peak / 2**30:.2f} GiB reserved at most; {fit} such trials fit on the card")
    return table


def _print_sources(new: Checked, measured: Sequence[Measurement], console: Console) -> None:
    kept = sorted({each.kept for each in measured if each.kept is not None})
    now = any(each.kept is None for each in measured)
    when = " and ".join(
        [*(f"measured on {date}, kept in the store" for date in kept), *(["measured now"] if now else [])]
    )
    epochs = "the epochs are exact" if new.experiment.is_comparison else "the epochs are of simulated searches"
    console.print(
        f"Sources: seconds {when}, interpolated by multiply-adds between variants; {epochs}; "
        f"{RAY_START_SECONDS:g} s for Ray's start and {WARM_START_SECONDS:g} s a trial are assumed.",
        highlight=False,
        soft_wrap=True,
    )


def fitting(total_bytes: int, peak_bytes: int) -> int:
    """How many trials of such a peak fit on a card, each in a process with a context of its own."""
    return math.floor(total_bytes * USABLE / (peak_bytes + CONTEXT_BYTES))


def _from_to(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
