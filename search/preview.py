"""What a search would cost, before it is started: its epochs by simulation, their seconds by measurement.

Nothing is trained for the record, and no search is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch_space.cost import price
from results.foresight import foresight, spread_before
from results.store import Store
from results.text import counted
from search.estimate import AROUND_SECONDS, HANDOVER_SECONDS, WARM_START_SECONDS, Estimate, estimate
from search.expected import SIMULATIONS, expected_epochs
from search.matching import show as show_matchings
from search.measured import Measurement, Planned, at_once, measurements
from search.prepare import Checked, planned_flats
from search.tuning import in_numbers
from trainer.resolve import resolve

CONTEXT_BYTES = int(0.6 * 2**30)
"""What CUDA takes of a card for each process, beside what torch reserves."""
USABLE = 0.95
"""The part of a card's memory that trials may fill."""


def preview(store: Store, new: Checked, variants: Sequence[str], console: Console) -> None:
    """Print what a new search would cost. Makes no search; keeps its measurements in the store.

    Raises:
        InputError: a variant that cannot be trained here.
    """
    trials = plan(new)
    measured = measurements(store, new, trials, variants, console)
    epochs = (
        [float(trial.config.epochs) for trial in trials]
        if new.experiment.is_comparison
        else expected_epochs(new.experiment, [trial.group for trial in trials], new.resources.concurrency)
    )
    estimated = estimate(trials, epochs, measured, new.resources)
    console.print(Text(new.experiment.question, style="bold"))
    show_matchings(new.matchings, console)
    console.print(_table(new, trials, measured, estimated))
    _print_sources(new, measured, console)
    console.print(_seen_by_seeds(store, new, trials), highlight=False, soft_wrap=True)


def plan(new: Checked) -> list[Planned]:
    """The trials of a comparison; of a search, as many as it would sample, drawn without knowing any result."""
    experiment = new.experiment
    trials = []
    for flat in planned_flats(experiment, new.startup_trials, experiment.trials):
        config = resolve(flat, on_gpu=new.resources.gpus_per_trial > 0, header=new.header)
        costs = price(config.model)
        group = experiment.race(config.to_flat()["ffn"])
        trials.append(Planned(config=config, group=group, parameters=costs.parameters, macs=costs.macs))
    return trials


def _table(new: Checked, trials: Sequence[Planned], measured: Sequence[Measurement], estimated: Estimate) -> Table:
    experiment, resources = new.experiment, new.resources
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)

    def row(what: str, text: str) -> None:
        table.add_row(Text(what, style="bold"), Text(text))

    if experiment.is_comparison:
        row("trials", f"{len(trials)} ({in_numbers(experiment)})")
        row(
            "expected epochs",
            f"{estimated.epochs:.0f} (every trial trains {_from_to([trial.config.epochs for trial in trials])})",
        )
    else:
        row("trials", f"{len(trials)} (as many variants, sampled)")
        most = len(trials) * experiment.epochs
        row("expected epochs", f"{estimated.epochs:.0f} of at most {most} (mean of {SIMULATIONS} simulated searches)")
    row("parameters", _from_to([trial.parameters for trial in trials]))
    speeds = [float(each.values["seconds_per_epoch"]) for each in measured]
    low, high = f"{min(speeds):.3g}", f"{max(speeds):.3g}"
    together = at_once(resources, len(trials))
    beside = f", {together} at once" if together > 1 else ""
    row(
        "seconds per epoch",
        f"{low if low == high else f'{low} to {high}'} ({counted(len(measured), 'variant')} measured{beside})",
    )
    row("start seconds", f"{estimated.start_seconds:.1f}")
    row("GPU-hours", f"{estimated.gpu_hours:.3g}" if resources.gpus_per_trial else "0 (trials on the CPU)")
    if resources.workers_per_trial > 1:
        row("workers of a trial", f"{resources.workers_per_trial} on {resources.nodes_per_trial} node(s)")
    row("wall time", f"{_duration(estimated.wall_seconds)} with {resources.concurrency} at once")
    if resources.gpus_per_trial:
        peak = max(int(each.values["gpu_memory_bytes"]) for each in measured)
        fit = fitting(int(measured[0].values["gpu_total_bytes"]), peak)
        row("GPU memory of a trial", f"{peak / 2**30:.2f} GiB reserved at most; {fit} such trials fit on the card")
    return table


def _print_sources(new: Checked, measured: Sequence[Measurement], console: Console) -> None:
    exchange = ""
    if new.resources.workers_per_trial > 1:
        exchange = " of one worker's part, without the exchange of gradients,"
    kept = sorted({each.kept for each in measured if each.kept is not None})
    now = any(each.kept is None for each in measured)
    when = " and ".join(
        [*(f"measured on {date}, kept in the store" for date in kept), *(["measured now"] if now else [])]
    )
    each = HANDOVER_SECONDS + (WARM_START_SECONDS if len(measured) == 1 else 0.0)
    epochs = "the epochs are exact" if new.experiment.is_comparison else "the epochs are of simulated searches"
    console.print(
        f"Sources: seconds{exchange} {when}, interpolated by multiply-adds between variants that differ in size alone; "
        f"{epochs}; {AROUND_SECONDS:g} s around the trials and {each:g} s between two are assumed.",
        highlight=False,
        soft_wrap=True,
    )


def _seen_by_seeds(store: Store, new: Checked, trials: Sequence[Planned]) -> str:
    """What the planned seeds will be able to show, from the spread of like trials in the store where there are any."""
    experiment, images = new.experiment, new.header.counts["val"]
    spread = spread_before(store, trials[0].config.to_flat(), new.header.checksum)
    if experiment.grid is None:
        return foresight(spread, len(trials), 1, images)
    return foresight(spread, len(experiment.grid), len(experiment.seeds), images)


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
