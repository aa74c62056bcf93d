"""What a search may use of this machine or of a cluster, checked before Ray or a GPU is touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from results.errors import InputError
from search.cluster import Cluster


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """CPUs and GPUs of the machine or of all the cluster's nodes, and what one trial gets of them."""

    cpus: int
    gpus: int
    concurrency: int
    cpus_per_trial: float
    gpus_per_trial: float
    threads: int
    """torch's CPU threads in one trial."""
    wishes: Mapping[str, float | None]
    """What was asked for, by parameter of `plan_resources`; none where the machine decided. A resumed search asks again."""
    cluster: Cluster | None = None
    """The running cluster that the search joins; none = Ray is started on this machine for it alone."""


def plan_resources(
    *,
    concurrency: int | None,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    threads: int | None,
    cluster: Cluster | None = None,
) -> Resources:
    """Shares of this machine, or of a cluster, for each trial; what is not given follows from the rest.

    A trial has all of its share on one node. On a GPU machine a trial gets a whole GPU, or the share that `concurrency`
    implies. On a CPU machine as many trials run at once as there are cores (at most 8 a node), one thread each: small ones
    gain more from neighbours than from threads.

    Raises:
        InputError: more is asked for than there is, or a value below its limit.
    """
    wishes = {"concurrency": concurrency, "cpus_per_trial": cpus_per_trial, "gpus_per_trial": gpus_per_trial}
    places, place = _places(cluster), "this machine" if cluster is None else f"the nodes of {cluster.address}"
    cpus, gpus = sum(count for count, _ in places), sum(count for _, count in places)
    if concurrency is not None and concurrency < 1:
        raise InputError(f'"--concurrency" must be at least 1, but got {concurrency}.')
    for name, value, limit, what in (
        ("--cpus-per-trial", cpus_per_trial, max(count for count, _ in places), "CPUs"),
        ("--gpus-per-trial", gpus_per_trial, max(count for _, count in places), "GPUs"),
    ):
        if value is not None and not value >= 0:  # nan, too
            raise InputError(f'"{name}" must be at least 0, but got {value:g}.')
        if value is not None and value > limit:
            of = place if cluster is None else f"one of {place}"
            raise InputError(f'"{name}" must be at most the {what} of {of} ({limit}), but got {value:g}.')
    if gpus_per_trial is not None and gpus_per_trial > 1:
        raise InputError(f'A trial trains on one GPU at most so far, but got "--gpus-per-trial" {gpus_per_trial:g}.')

    if gpus_per_trial is None:
        gpus_per_trial = min(1.0, gpus / (concurrency or gpus)) if gpus else 0.0
    slots = _slots(places, cpus_per_trial or 0, gpus_per_trial)
    if gpus_per_trial == 0 and concurrency is not None:
        slots = max(slots, concurrency) if cpus_per_trial is None else slots
    if concurrency is None:
        concurrency = slots if gpus_per_trial else min(slots, 8 * len(places))
    if concurrency > slots:
        raise InputError(
            f'"--concurrency" must be at most what {place} has room for ({slots} trials at '
            f"{gpus_per_trial:g} GPUs and {cpus_per_trial or 1:g} CPUs each), but got {concurrency}."
        )
    if cpus_per_trial is None:
        cpus_per_trial = cpus / concurrency if concurrency > cpus else float(max(1, cpus // concurrency))
        while cpus_per_trial > 1 and _slots(places, cpus_per_trial, gpus_per_trial) < concurrency:
            cpus_per_trial -= 1  # what is left of a node's cores takes no trial
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
        cluster=cluster,
    )


def _places(cluster: Cluster | None) -> list[tuple[int, int]]:
    """(CPUs, GPUs) of each machine on which trials may train."""
    if cluster is not None:
        return [(node.cpus, node.gpus) for node in cluster.workers]
    import torch

    return [(available_cpus(), torch.cuda.device_count())]


def _slots(places: list[tuple[int, int]], cpus_per_trial: float, gpus_per_trial: float) -> int:
    """Trials of this size for which there is room, each on one machine."""
    slots = 0
    for cpus, gpus in places:
        room = int(gpus / gpus_per_trial + 1e-9) if gpus_per_trial else cpus
        slots += min(room, int(cpus / cpus_per_trial + 1e-9)) if cpus_per_trial else room
    return slots


def available_cpus() -> int:
    """The cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0))
