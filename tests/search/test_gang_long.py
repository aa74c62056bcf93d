"""Gangs one after another, for as long as a leak needs to be seen. With `-s`, the figures that belong into the log."""

import json
import statistics
import sys
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gangs import ENDS, TWO, ended, first_epoch, ranks, raylets, started

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

COLD = 9
"""Gangs that are started anew and killed."""
TOLERATED_MB = 64
"""A process may have grown by so much in fifty trials of other shapes than before."""


def descriptors(process):
    return process.num_fds()


def test_a_hundred_gangs_in_a_row_use_no_more_processes_descriptors_and_memory_than_fifty(place):
    search = place.start("search.run", "tiny.py", "--workers-per-trial", "2", "--concurrency", "1", "--trials", "100",
                         "--epochs", "3")  # fmt: skip

    def counted(trial):
        search.wait_for(rf"tiny-1\.{trial} .*epoch 1/3", limit=1500)
        family = [process for process in search.note_family() if process.is_running()]
        (raylet,) = raylets(family)
        workers = ranks(family)
        return {
            "processes": len(family), "ranks": len(workers), "driver's descriptors": descriptors(psutil.Process(search.pid)),
            "raylet's descriptors": descriptors(raylet),
            "ranks' descriptors": sum(map(descriptors, workers)),
            "ranks' memory in MB": sum(worker.memory_info().rss for worker in workers) // 10**6,
        }  # fmt: skip

    counted(2)
    began = time.monotonic()
    early, late = counted(50), counted(99)
    print(f"\nat trial 50: {early}\nat trial 99: {late}\n{(time.monotonic() - began) / 97:.2f} s a trial")
    assert search.finish(300) == 0, search.output
    assert late["ranks"] == 2
    for name in ("processes", "driver's descriptors", "raylet's descriptors", "ranks' descriptors"):
        assert late[name] <= early[name] + 5, name
    assert late["ranks' memory in MB"] <= early["ranks' memory in MB"] + 2 * TOLERATED_MB
    with place.store() as store:
        rows = store.trials("tiny-1")
    assert len(rows) == 100
    assert {row.status for row in rows} <= {"finished", "stopped"}
    place.run("results.audit", "tiny-1")
    place.wait_until_gone(150)


def test_each_gang_that_is_stopped_lost_or_orphaned_leaves_nothing(tmp_path, digits):
    """The Trainable by itself, as Tune runs it: started, and ended in one of three ways, again and again."""
    import ray
    from ray.util import placement_group_table, remove_placement_group

    from search.gang import shape
    from search.resources import plan_resources

    resources = plan_resources(concurrency=1, cpus_per_trial=2.0, gpus_per_trial=0.0, threads=1, workers_per_trial=2)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        seconds = {how: [] for how in ENDS}
        counts = []
        for turn in range(COLD):
            group = shape(resources).to_placement_group()
            trainable = started(tmp_path / str(turn), digits, group)
            first_epoch(trainable)
            how = ENDS[turn % 3]
            seconds[how].append(ended(trainable, how, victim=turn // 3 % 2))
            ray.kill(trainable)
            remove_placement_group(group)
            mine = psutil.Process().children(recursive=True)
            (raylet,) = raylets(mine)
            counts.append((descriptors(psutil.Process()), descriptors(raylet)))
        print("\nseconds from the decision to no process left: "
              + ", ".join(f"{how} {statistics.median(each):.2f} (at most {max(each):.2f})" for how, each in seconds.items())
              + f"; descriptors (driver, raylet): {counts}")  # fmt: skip
        while ray.available_resources().get("CPU") != 2:  # the last group's come back some moments after its removal
            time.sleep(0.1)
        states = [group["state"] for group in placement_group_table().values()]
        assert states == ["REMOVED"] * COLD
        assert counts[-1][0] <= counts[2][0] + 5
        assert counts[-1][1] <= counts[2][1] + 10
    finally:
        ray.shutdown()


def test_a_gang_over_two_nodes_has_a_worker_on_each(tmp_path, digits):
    """Two raylets on this machine: STRICT_SPREAD, and a rendezvous at the node's address."""
    import ray
    from ray.cluster_utils import Cluster

    from search.gang import shape
    from search.resources import plan_resources

    resources = plan_resources(concurrency=1, cpus_per_trial=2.0, gpus_per_trial=0.0, threads=1, workers_per_trial=2,
                               nodes_per_trial=2, cluster=TWO)  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        group = shape(resources).to_placement_group()
        trainable = started(tmp_path / "trial", digits, group, nodes=2)
        for epoch in (1, 2):
            assert json.loads(ray.get(trainable.train.remote())["report"])["row"]["epoch"] == epoch
        workers = ranks(psutil.Process().children(recursive=True))
        assert len(workers) == 2
        assert len({worker.ppid() for worker in workers}) == 2  # of two raylets
        ray.get(trainable.stop.remote())
    finally:
        ray.shutdown()
        cluster.shutdown()
