"""What a search says of itself before its trials run: its question, its budget, and what a person should know."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from results.text import counted
from search.experiment import Experiment
from search.matching import show as show_matchings
from search.prepare import Prepared
from search.resources import Resources
from search.samplers import limits
from search.schedulers import degenerate, in_words
from search.session import Session
from search.tuning import in_numbers


def announce(session: Session, prepared: Prepared, resources: Resources, console: Console) -> None:
    """Print it."""
    experiment = prepared.experiment
    console.print(Text(experiment.question, style="bold"))
    device = f"{resources.gpus_per_trial:g} GPU" if resources.gpus_per_trial else f"{resources.threads} CPU thread(s)"
    if resources.workers_per_trial > 1:
        own = "a GPU" if resources.gpus_per_trial else f"{resources.threads} CPU thread(s)"
        device = f"{resources.workers_per_trial} workers with {own}"
    budget = (
        f"{counted(session.planned, 'trial')}: {in_numbers(experiment)}, none stopped"
        if experiment.is_comparison
        else f"{counted(session.planned, 'trial')}, {stopping(experiment)}"
    )
    console.print(
        f"{prepared.search_id} on {prepared.header.name}: {budget}; up to {experiment.epochs} epochs, "
        f"{resources.concurrency} at once, {device} each{_where(resources)}.",
        highlight=False,
        soft_wrap=True,
    )
    show_matchings(prepared.matchings, console)
    for note in _notes(session, resources):
        console.print(note, style="yellow", highlight=False, soft_wrap=True)


def _where(resources: Resources) -> str:
    """The cluster in words; nothing for this machine."""
    if resources.cluster is None:
        return ""
    count = len(resources.cluster.workers)
    return f", on {counted(count, 'node')} of the cluster at {resources.cluster.address}"


def _notes(session: Session, resources: Resources) -> Iterator[str]:
    """What a person should know before these trials run, a sentence each."""
    experiment, scheduler = session.experiment, session.scheduler.name
    if not session.supply.sampler_is_exact:
        yield (
            f"Note: the sampler {experiment.sampler} could not be brought back exactly; it knows all results, but may ask "
            "for other variants than it would have."
        )
    if not experiment.is_comparison and (limit := limits(experiment.sampler)) is not None:
        yield limit
    if experiment.known and experiment.sampler not in ("tpe", "gp", "TPESampler", "GPSampler"):
        yield f"Note: {experiment.sampler} learns nothing from results that it has not asked for; tpe and gp do."
    if len(experiment.objectives) > 1 and scheduler != "none":
        yield (
            f"Note: {scheduler} stops trials by accuracy alone, so it may stop a small variant that belongs to the front; "
            "--scheduler none stops nobody."
        )
    if (
        not resources.gpus_per_trial
        and (wanted := resources.concurrency * resources.workers_per_trial) > resources.cpus
    ):
        yield (
            f"Note: {wanted} processes at once share {resources.cpus} cores, each with memory of its own; --concurrency "
            f"{max(1, resources.cpus // resources.workers_per_trial)} gives each a core."
        )
    if (few := degenerate(scheduler, experiment.reduction, resources.concurrency)) is not None:
        yield few


def stopping(experiment: Experiment) -> str:
    """How its scheduler stops trials, in words."""
    return in_words(experiment.scheduler, experiment.rungs, experiment.grace, experiment.reduction)
