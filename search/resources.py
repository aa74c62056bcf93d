"""What a search may use of this machine or of a cluster, checked before Ray or a GPU is touched."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from results.errors import InputError
from search.cluster import Cluster


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
    cluster: Cluster | None = None
    """The running cluster that the search joins; none = Ray is started on this machine for it alone."""


def plan_resources(
    *,
    concurrency: int | None,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    threads: int | None,
    workers_per_trial: int | None = None,
    nodes_per_trial: int | None = None,
    cluster: Cluster | None = None,
) -> Resources:
    """Shares of this machine, or of a cluster, for each trial; what is not given follows from the rest.

    A trial has all of its share on one node, or an equal part of it on each of `nodes_per_trial`. On a GPU machine a trial
    gets a whole GPU, or the share of one card that `concurrency` implies. On a CPU machine as many trials run at once as
    there are cores (at most 8 a node), one thread each: small ones gain more from neighbours than from threads. A trial of
    several workers has a core for each, if not told otherwise.

    Raises:
        InputError: more is asked for than there is, or a value below its limit.
    """
    wishes = {
        "concurrency": concurrency,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "workers_per_trial": workers_per_trial,
        "nodes_per_trial": nodes_per_trial,
    }
    places, place = _places(cluster), "this machine" if cluster is None else f"the nodes of {cluster.address}"
    cpus, gpus = sum(count for count, _ in places), sum(count for _, count in places)
    if concurrency is not None and concurrency < 1:
        raise InputError(f'"--concurrency" must be at least 1, but got {concurrency}.')
    spread = nodes_per_trial if nodes_per_trial is not None and nodes_per_trial > 1 else 1
    for name, value, limit, what in (
        ("--cpus-per-trial", cpus_per_trial, max(count for count, _ in places), "CPUs"),
        ("--gpus-per-trial", gpus_per_trial, max(count for _, count in places), "GPUs"),
    ):
        if value is not None and not value >= 0:  # nan, too
            raise InputError(f'"{name}" must be at least 0, but got {value:g}.')
        if value is not None and value > limit * spread:
            of = place if cluster is None else f"{spread if spread > 1 else 'one'} of {place}"
            raise InputError(f'"{name}" must be at most the {what} of {of} ({limit * spread}), but got {value:g}.')
    workers, nodes_per_trial = _gang(workers_per_trial, nodes_per_trial, gpus_per_trial, gpus, len(places))
    if gpus_per_trial is None and gpus and workers > 1:
        gpus_per_trial = float(workers)

    if gpus_per_trial is None:
        gpus_per_trial = 1 / math.ceil((concurrency or gpus) / gpus) if gpus else 0.0
    cores = cpus_per_trial or (0.0 if gpus_per_trial else float(workers))
    slots = _slots(places, cores, gpus_per_trial, nodes_per_trial)
    if gpus_per_trial == 0 and cpus_per_trial is None:
        slots = max(1, slots, concurrency or 0)  # cores may be shared
    if concurrency is None:
        concurrency = slots if gpus_per_trial else min(slots, 8 * len(places))
    if concurrency > slots:
        raise InputError(
            f'"--concurrency" must be at most what {place} has room for ({slots} trials at '
            f"{gpus_per_trial:g} GPUs and {cpus_per_trial or 1:g} CPUs each), but got {concurrency}."
        )
    if cpus_per_trial is None and workers > 1 and not gpus_per_trial:
        cpus_per_trial = min(float(workers), cpus / concurrency)
    if cpus_per_trial is None:
        cpus_per_trial = cpus / concurrency if concurrency > cpus else float(max(1, cpus // concurrency))
        while cpus_per_trial > 1 and _slots(places, cpus_per_trial, gpus_per_trial, nodes_per_trial) < concurrency:
            cpus_per_trial -= 1  # what is left of a node's cores takes no trial
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
        cluster=cluster,
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


def _places(cluster: Cluster | None) -> list[tuple[int, int]]:
    """(CPUs, GPUs) of each machine on which trials may train."""
    if cluster is not None:
        return [(node.cpus, node.gpus) for node in cluster.workers]
    import torch

    return [(available_cpus(), torch.cuda.device_count())]


def trials_a_card(gpus_per_trial: float) -> int:
    """Trials with such a share, below 1, that Ray places on one card: a share is never spread over two."""
    return int(1 / gpus_per_trial + 1e-9)


def _slots(places: list[tuple[int, int]], cpus_per_trial: float, gpus_per_trial: float, nodes: int) -> int:
    """Trials of this size for which there is room: each with an equal part on each of so many machines."""
    rooms = []
    for cpus, gpus in places:
        room = nodes * cpus
        if gpus_per_trial:
            room = (
                gpus * trials_a_card(gpus_per_trial)
                if gpus_per_trial < 1
                else int(nodes * gpus / gpus_per_trial + 1e-9)
            )
        rooms.append(min(room, int(nodes * cpus / cpus_per_trial + 1e-9)) if cpus_per_trial else room)
    slots = sum(rooms) // nodes
    while slots and sum(min(room, slots) for room in rooms) < nodes * slots:  # a machine has one part of a trial
        slots -= 1
    return slots


def available_cpus() -> int:
    """The cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0))
