"""What a search may use of this machine, checked before Ray or a GPU is touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from results.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """CPUs and GPUs of the machine, and what one trial gets of them."""

    cpus: int
    gpus: int
    concurrency: int
    cpus_per_trial: float
    gpus_per_trial: float
    threads: int
    """torch's CPU threads in one trial."""
    wishes: Mapping[str, float | None]
    """What was asked for, by parameter of `plan_resources`; none where the machine decided. A resumed search asks again."""


def plan_resources(
    *,
    concurrency: int | None,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    threads: int | None,
) -> Resources:
    """Shares of this machine for each trial; what is not given follows from the rest.

    On a GPU machine a trial gets a whole GPU, or the share that `concurrency` implies. On a CPU machine as many trials
    run at once as there are cores (at most 8), one thread each: small ones gain more from neighbours than from threads.

    Raises:
        InputError: more is asked for than there is, or a value below its limit.
    """
    import torch

    wishes = {"concurrency": concurrency, "cpus_per_trial": cpus_per_trial, "gpus_per_trial": gpus_per_trial}
    cpus, gpus = available_cpus(), torch.cuda.device_count()
    if concurrency is not None and concurrency < 1:
        raise InputError(f'"--concurrency" must be at least 1, but got {concurrency}.')
    for name, value, limit, what in (
        ("--cpus-per-trial", cpus_per_trial, cpus, "CPUs"),
        ("--gpus-per-trial", gpus_per_trial, gpus, "GPUs"),
    ):
        if value is not None and not value >= 0:  # nan, too
            raise InputError(f'"{name}" must be at least 0, but got {value:g}.')
        if value is not None and value > limit:
            raise InputError(f'"{name}" must be at most the {what} of this machine ({limit}), but got {value:g}.')
    if gpus_per_trial is not None and gpus_per_trial > 1:
        raise InputError(f'A trial trains on one GPU at most so far, but got "--gpus-per-trial" {gpus_per_trial:g}.')

    if gpus_per_trial is None:
        gpus_per_trial = min(1.0, gpus / (concurrency or gpus)) if gpus else 0.0
    slots = int(gpus / gpus_per_trial + 1e-9) if gpus_per_trial else cpus
    if cpus_per_trial:
        slots = min(slots, int(cpus / cpus_per_trial))
    if gpus_per_trial == 0 and concurrency is not None:
        slots = max(slots, concurrency) if cpus_per_trial is None else slots
    if concurrency is None:
        concurrency = slots if gpus_per_trial else min(slots, 8)
    if concurrency > slots:
        raise InputError(
            f'"--concurrency" must be at most what this machine has room for ({slots} trials at '
            f"{gpus_per_trial:g} GPUs and {cpus_per_trial or 1:g} CPUs each), but got {concurrency}."
        )
    if cpus_per_trial is None:
        cpus_per_trial = cpus / concurrency if concurrency > cpus else float(max(1, cpus // concurrency))
    if threads is None:
        threads = max(1, int(cpus_per_trial)) if gpus_per_trial else 1
    return Resources(
        cpus=cpus,
        gpus=gpus,
        concurrency=concurrency,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        threads=threads,
        wishes=wishes,
    )


def available_cpus() -> int:
    """The cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0))
