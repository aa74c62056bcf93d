"""The processes of a gang; and a Trainable of two workers as Tune runs it: started in its group, ended in three ways."""

import json
import re
import time

import psutil

from search.cluster import Cluster, Node

TWO = Cluster(
    address="10.0.0.1:6379",
    nodes=tuple(Node(id=name, address=f"10.0.0.{name}", name=name, cpus=2, gpus=0) for name in "12"),
    here=Node(id="1", address="10.0.0.1", name="1", cpus=2, gpus=0),
)
"""A cluster of two nodes, to plan for; nothing runs there."""
FLAT = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 1000, "ffn": "mlp",
}  # fmt: skip
ENDS = ("stopped", "lost", "orphaned")
"""Tune stops the trial, the process of a rank dies, or Tune kills the Trainable itself."""


def ranks(processes):
    """Those that are the process of a rank, by their title."""
    found = []
    for process in processes:
        try:
            if " ".join(process.cmdline()).startswith("ray::RankWorker"):
                found.append(process)
        except psutil.Error:  # gone meanwhile
            continue
    return found


def raylets(processes):
    return [process for process in processes if process.name() == "raylet"]


def started(folder, digits, group, *, nodes=1, gpus=0.0):
    """The Trainable as Tune starts it: without resources of its own, in the trial's placement group."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from search.ray_adaptors import WORK, TrialActor

    work = {"trial": "x-1.1", "folder": str(folder), "data": str(digits.path),
            "data_checksum": digits.checksum, "gpus": gpus, "cpus": 2.0, "threads": 1, "variants": [],
            "reported": 0, "attempt": 1, "accumulation": 1, "hparams": {}, "workers": 2, "nodes": nodes}  # fmt: skip
    place = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    return ray.remote(TrialActor).options(num_cpus=0, scheduling_strategy=place).remote({**FLAT, WORK: work})


def until_it_raises(trainable, epoch):
    """Epoch after epoch; the text of the error that ends them."""
    import ray

    while True:
        try:
            ray.get(epoch)
        except ray.exceptions.RayTaskError as error:
            return str(error)
        epoch = trainable.train.remote()


def ended(trainable, how, victim):
    """End a trial that has trained its first epoch; seconds until no process of its ranks is left.

    Args:
        victim: the rank whose process dies, for `lost`.
    """
    import ray

    workers = ranks(psutil.Process().children(recursive=True))
    assert len(workers) == 2
    began = time.monotonic()
    if how == "stopped":
        ray.get(trainable.stop.remote())
    elif how == "lost":
        epoch = trainable.train.remote()
        began = time.monotonic()
        workers[victim].kill()
        error = until_it_raises(trainable, epoch)
        assert re.search(r"WorkerLostError: the process of rank \d died, of the trial's 2 workers", error)
    else:
        ray.kill(trainable)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    return time.monotonic() - began


def first_epoch(trainable):
    import ray

    assert json.loads(ray.get(trainable.train.remote())["report"])["row"]["epoch"] == 1
