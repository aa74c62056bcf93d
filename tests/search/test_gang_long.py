"""Gangs one after another, for as long as a leak needs to be seen. With `-s`, the figures that belong into the log."""

import json
import re
import statistics
import time

import psutil
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

COLD = 9
"""Gangs that are started anew and killed."""
FLAT = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 1000, "ffn": "mlp",
}  # fmt: skip


def descriptors(process):
    return process.num_fds()


def titled(processes, start):
    found = []
    for process in processes:
        try:
            if " ".join(process.cmdline()).startswith(start):
                found.append(process)
        except psutil.Error:  # gone meanwhile
            continue
    return found


def raylets(processes):
    return [process for process in processes if process.name() == "raylet"]


def started(folder, digits, group, nodes):
    """The Trainable as Tune starts it: without resources of its own, in the trial's placement group."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from search.ray_adaptors import WORK, TrialActor

    work = {"trial": "x-1.1", "folder": str(folder), "data": str(digits.path), "gpus": 0.0, "cpus": 2.0, "threads": 1,
            "variants": [], "reported": 0, "attempt": 1, "accumulation": 1, "hparams": {}, "workers": 2,
            "nodes": nodes}  # fmt: skip
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


def test_a_hundred_gangs_in_a_row_use_no_more_processes_and_descriptors_than_ten(place):
    search = place.start("search.run", "tiny.py", "--workers-per-trial", "2", "--concurrency", "1", "--trials", "100",
                         "--epochs", "3")  # fmt: skip

    def counted(trial):
        search.wait_for(rf"tiny-1\.{trial} .*epoch 1/3", limit=1500)
        family = [process for process in search.note_family() if process.is_running()]
        (raylet,) = raylets(family)
        workers = titled(family, "ray::RankWorker")
        return {
            "processes": len(family), "ranks": len(workers), "driver's descriptors": descriptors(psutil.Process(search.pid)),
            "raylet's descriptors": descriptors(raylet),
            "ranks' descriptors": sum(map(descriptors, workers)),
            "ranks' memory in MB": sum(worker.memory_info().rss for worker in workers) // 10**6,
        }  # fmt: skip

    early, began = counted(10), time.monotonic()
    late = counted(99)
    print(f"\nat trial 10: {early}\nat trial 99: {late}\n{(time.monotonic() - began) / 89:.2f} s a trial")
    assert search.finish(300) == 0, search.output
    assert late["ranks"] == 2
    for name in ("processes", "driver's descriptors", "raylet's descriptors", "ranks' descriptors"):
        assert late[name] <= early[name] + 5, name
    assert late["ranks' memory in MB"] < 1.1 * early["ranks' memory in MB"] + 50
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
        seconds = {"stopped": [], "lost": [], "orphaned": []}
        counts = []
        for turn in range(COLD):
            group = shape(resources).to_placement_group()
            trainable = started(tmp_path / str(turn), digits, group, nodes=1)
            assert json.loads(ray.get(trainable.train.remote())["report"])["row"]["epoch"] == 1
            mine = psutil.Process().children(recursive=True)
            workers = titled(mine, "ray::RankWorker")
            assert len(workers) == 2
            how = ("stopped", "lost", "orphaned")[turn % 3]
            began = time.monotonic()
            if how == "stopped":
                ray.get(trainable.stop.remote())
            elif how == "lost":
                epoch = trainable.train.remote()
                began = time.monotonic()
                workers[turn // 3 % 2].kill()
                error = until_it_raises(trainable, epoch)
                assert re.search(r"WorkerLostError: the process of rank \d died, of the trial's 2 workers", error)
            else:
                ray.kill(trainable)
            _, alive = psutil.wait_procs(workers, timeout=60)
            seconds[how].append(time.monotonic() - began)
            assert not alive
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
                               nodes_per_trial=2, nodes=2)  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        group = shape(resources).to_placement_group()
        trainable = started(tmp_path / "trial", digits, group, nodes=2)
        for epoch in (1, 2):
            assert json.loads(ray.get(trainable.train.remote())["report"])["row"]["epoch"] == epoch
        workers = titled(psutil.Process().children(recursive=True), "ray::RankWorker")
        assert len(workers) == 2
        assert len({worker.ppid() for worker in workers}) == 2  # of two raylets
        ray.get(trainable.stop.remote())
    finally:
        ray.shutdown()
        cluster.shutdown()
