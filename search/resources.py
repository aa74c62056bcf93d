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
    """Above 1, a whole number: one for each of the trial's workers."""
    threads: int
    """torch's CPU threads in each worker of a trial."""
    workers_per_trial: int = 1
    """Processes that train one trial together."""
    nodes_per_trial: int = 1
    """Machines over which a trial's workers are spread, as many on each."""
    wishes: Mapping[str, float | None]
    """What was asked for, by parameter of `plan_resources`; none where the machine decided. A resumed search asks again."""


def plan_resources(
    *,
    concurrency: int | None,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    threads: int | None,
    workers_per_trial: int | None = None,
    nodes_per_trial: int | None = None,
    nodes: int = 1,
) -> Resources:
    """Shares of this machine for each trial; what is not given follows from the rest.

    On a GPU machine a trial gets a whole GPU, or the share that `concurrency` implies. On a CPU machine as many trials
    run at once as there are cores (at most 8), one thread each: small ones gain more from neighbours than from threads.
    A trial of several workers has a core for each, if not told otherwise. `nodes` is how many machines there are.

    Raises:
        InputError: more is asked for than there is, or a value below its limit.
    """
    import torch

    wishes = {
        "concurrency": concurrency,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "workers_per_trial": workers_per_trial,
        "nodes_per_trial": nodes_per_trial,
    }
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
    workers, nodes_per_trial = _gang(workers_per_trial, nodes_per_trial, gpus_per_trial, gpus, nodes)
    if gpus_per_trial is None and gpus and workers > 1:
        gpus_per_trial = float(workers)

    if gpus_per_trial is None:
        gpus_per_trial = min(1.0, gpus / (concurrency or gpus)) if gpus else 0.0
    slots = int(gpus / gpus_per_trial + 1e-9) if gpus_per_trial else max(1, cpus // workers)
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
    if cpus_per_trial is None and workers > 1 and not gpus_per_trial:
        cpus_per_trial = min(float(workers), cpus / concurrency)
    if cpus_per_trial is None:
        cpus_per_trial = cpus / concurrency if concurrency > cpus else float(max(1, cpus // concurrency))
    if threads is None:
        threads = max(1, int(cpus_per_trial / workers)) if gpus_per_trial else 1
    return Resources(
        cpus=cpus,
        gpus=gpus,
        concurrency=concurrency,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        threads=threads,
        workers_per_trial=workers,
        nodes_per_trial=nodes_per_trial,
        wishes=wishes,
    )


def _gang(
    workers: int | None, nodes_per_trial: int | None, gpus_per_trial: float | None, gpus: int, nodes: int
) -> tuple[int, int]:
    """Workers of a trial, and the machines that they are spread over; InputError where they cannot be had."""
    several = gpus_per_trial is not None and gpus_per_trial > 1
    if several and gpus_per_trial != int(gpus_per_trial or 0):
        raise InputError(f'"--gpus-per-trial" above 1 must be a whole number, but got {gpus_per_trial:g}.')
    if workers is not None and workers < 1:
        raise InputError(f'"--workers-per-trial" must be at least 1, but got {workers}.')
    if workers is None:
        workers = int(gpus_per_trial or 0) if several else 1
    uses_gpus = gpus > 0 if gpus_per_trial is None else gpus_per_trial > 0
    wanted = workers if gpus_per_trial is None else gpus_per_trial
    if uses_gpus and (workers > 1 or several) and workers != wanted:
        raise InputError(
            "Each of several workers must have a GPU of its own, but got "
            f"(--workers-per-trial {workers}, --gpus-per-trial {gpus_per_trial:g}); leave --workers-per-trial out."
        )
    if uses_gpus and workers > gpus:
        raise InputError(
            f'"--workers-per-trial" must be at most the GPUs of this machine ({gpus}), but got {workers}; '
            "--gpus-per-trial 0 trains on the CPU."
        )
    if nodes_per_trial is None:
        return workers, 1
    if not 1 <= nodes_per_trial <= nodes:
        raise InputError(
            f'"--nodes-per-trial" must be from 1 to the machines of this cluster ({nodes}), but got {nodes_per_trial}.'
        )
    if workers % nodes_per_trial:
        raise InputError(
            f'The workers of a trial must divide by "--nodes-per-trial", but got (workers={workers}, '
            f"--nodes-per-trial {nodes_per_trial}); give --workers-per-trial, or --gpus-per-trial above 1."
        )
    return workers, nodes_per_trial


def available_cpus() -> int:
    """The cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0))
