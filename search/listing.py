"""Experiments before anything runs: `--list` and `--show NAME`."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.matches import QUANTITIES, variant_words
from search import catalog
from search.announcement import stopping
from search.experiment import Experiment
from search.prepare import check_keys
from search.sampler import described_space
from search.timing import Timing
from search.timing_run import print_preview
from search.tuning import in_numbers


def list_experiments(console: Console) -> None:
    """Every experiment's name and question."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name in catalog.names():
        table.add_row(Text(name, style="bold"), Text(catalog.find(name).question))
    console.print(table)


def show_experiment(experiment: Experiment | Timing, console: Console) -> None:
    """Its question, what it samples or compares, and its budget."""
    if isinstance(experiment, Timing):
        print_preview(experiment, console)
        return
    check_keys(experiment.base)
    console.print(Text(experiment.question, style="bold"))
    if experiment.is_comparison:
        budget = f"comparison: {in_numbers(experiment)}, none stopped"
    else:
        budget = (
            f"search: {experiment.trials} trials for {' and '.join(experiment.objectives)}, "
            f"sampler {experiment.sampler}, {stopping(experiment)}"
        )
    console.print(f"{budget}; up to {experiment.epochs} epochs", highlight=False, soft_wrap=True)
    for match in experiment.matches:
        target = (
            f"that of {variant_words(match.target)}" if isinstance(match.target, Mapping) else f"{match.target:,.15g}"
        )
        console.print(
            f"matched: {QUANTITIES[match.measure]} = {target} within {100 * match.tolerance:g} %",
            highlight=False,
            soft_wrap=True,
        )
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("key")
    table.add_column("values")
    for key, value in {**experiment.base, **experiment.fixed}.items():
        table.add_row(key, str(value))
    if not experiment.is_comparison:
        for key, values in described_space(experiment).items():
            table.add_row(Text(key, style="bold"), values)
    console.print(table)
    shared = {**experiment.base, **experiment.fixed}
    for variant in experiment.grid or ():
        kind = {"ffn": shared["ffn"]} if "ffn" in shared else {}
        console.print(Text(f"variant  {variant_words({**kind, **variant})}"), soft_wrap=True)
