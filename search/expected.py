"""Epochs that the trials of a search will train, by simulation of its early stopping."""

from __future__ import annotations

import random
from collections.abc import Sequence

from search.experiment import Experiment
from search.verdict import Entrant

SIMULATIONS = 50


def expected_epochs(experiment: Experiment, groups: Sequence[str], concurrency: int) -> list[float]:
    """Epochs of each trial of a search: the mean over simulated ones."""
    totals = [0] * len(groups)
    for seed in range(SIMULATIONS):
        for number, epochs in enumerate(simulate(experiment, groups, concurrency, random.Random(seed))):
            totals[number] += epochs
    return [total / SIMULATIONS for total in totals]


def simulate(experiment: Experiment, groups: Sequence[str], concurrency: int, chance: random.Random) -> list[int]:
    """Epochs of each trial in one search under its scheduler, all live trials an epoch a round.

    Each trial has a quality, independent of the others', which is its value at every rung.
    """
    scheduler = experiment.build_scheduler()
    entrants = [Entrant(number, group) for number, group in enumerate(groups, start=1)]
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
            if (
                epochs[trial] < experiment.epochs
                and not scheduler.judge(entrants[trial], epochs[trial], quality[trial]).stop
            ):
                staying.append(trial)
        live = staying
    return epochs
