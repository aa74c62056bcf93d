"""Trials over two GPUs, through NCCL. With `-s`, the figures that belong into the log are printed."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from results.store import ENDED

sys.path.insert(0, str(Path(__file__).parent))
from gangs import ENDS, ended, first_epoch, ranks, started

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
    pytest.mark.timeout(600),
]

EXACT = ("--set", "dropout=0.0", "--set", "precision=fp32")
SLACK_BYTES = 64 * 2**20


def memory_used():
    """Bytes in use on each card, by the driver's own count."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return [int(line) * 2**20 for line in subprocess.check_output(command, text=True).split()]


def wait_for_memory(before, limit=60):
    deadline = time.monotonic() + limit
    while any(now > was + SLACK_BYTES for now, was in zip(memory_used(), before, strict=True)):
        assert time.monotonic() < deadline, f"memory in use: {memory_used()}, before: {before}"
        time.sleep(0.2)


def rows_of(place, search_id):
    """All trials have ended by themselves or by the scheduler, with each of their epochs once."""
    with place.store() as store:
        rows = store.trials(search_id)
        curves = [store.epochs(row.id) for row in rows]
    for row, curve in zip(rows, curves, strict=True):
        assert row.status in ENDED
        assert row.status != "failed", row.cause
        assert [epoch.epoch for epoch in curve] == list(range(1, row.epochs + 1))
    return rows, curves


@pytest.mark.parametrize("zero_stage", ["0", "1", "2"])
def test_two_gpus_give_the_curve_of_one_at_the_same_batch(place, zero_stage):
    before = memory_used()
    place.run("search.run", "pairs.py", *EXACT, "--gpus-per-trial", "1", "--concurrency", "1")
    place.run("search.run", "pairs.py", *EXACT, "--set", f"zero_stage={zero_stage}", "--gpus-per-trial", "2")
    (one, alone), (two, both) = rows_of(place, "pairs-1"), rows_of(place, "pairs-2")
    assert [row.provenance.get("workers") for row in two] == [2, 2]
    for single, gang in zip(alone, both, strict=True):
        for old, new in zip(single[:5], gang[:5], strict=True):  # before roundings have grown
            assert new.train_loss == pytest.approx(old.train_loss, rel=1e-3)
            assert new.val_loss == pytest.approx(old.val_loss, rel=1e-3)
        print(f"images/s: one GPU {single[-1].images_per_second:,.0f}, two {gang[-1].images_per_second:,.0f}")
    for row in two:
        assert row.gpu_seconds == pytest.approx(2 * row.wall_seconds)
    assert one[0].gpu_seconds == pytest.approx(one[0].wall_seconds)
    wait_for_memory(before)


def test_twelve_trials_over_two_gpus_one_with_a_killed_rank_leave_both_cards_as_they_were(place):
    before = memory_used()
    search = place.start("search.run", "tiny.py", "--gpus-per-trial", "2", "--trials", "12", "--epochs", "30")
    search.wait_for(r"tiny-1\.1 .*epoch 1/30")  # a first trial goes on at every rung
    leader = place.worker_of("tiny-1.1").pid
    (victim,) = [process for process in ranks(place.left()) if process.pid != leader]
    victim.kill()
    search.wait_for(r"the process of rank 1 died, of the trial's 2 workers after epoch \d+; it starts again")
    assert search.finish() == 0, search.output
    rows, _ = rows_of(place, "tiny-1")
    assert len(rows) == 12
    assert any(row.status == "stopped" for row in rows)
    place.run("results.audit", "tiny-1")
    began = time.monotonic()
    wait_for_memory(before)
    print(f"memory of both cards free {time.monotonic() - began:.1f} s after the search's end")
    place.wait_until_gone(60)


def test_each_gang_that_is_stopped_lost_or_orphaned_frees_both_cards(tmp_path, digits):
    import ray
    from ray.util import remove_placement_group

    from search.gang import shape
    from search.resources import plan_resources

    before = memory_used()
    resources = plan_resources(concurrency=1, cpus_per_trial=2.0, gpus_per_trial=2.0, threads=1, workers_per_trial=2)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        seconds = {how: [] for how in ENDS}
        for turn, how in enumerate(ENDS * 2):
            group = shape(resources).to_placement_group()
            trainable = started(tmp_path / str(turn), digits, group, gpus=2.0)
            first_epoch(trainable)
            during = memory_used()
            assert all(now > was + SLACK_BYTES for now, was in zip(during, before, strict=True))
            began = time.monotonic()
            ended(trainable, how, victim=turn % 2)
            wait_for_memory(before)
            seconds[how].append(time.monotonic() - began)
            ray.kill(trainable)
            remove_placement_group(group)
        print("\nseconds from the decision to the memory of both cards free: "
              + ", ".join(f"{how} {statistics.median(each):.2f} (at most {max(each):.2f})" for how, each in seconds.items())
              )  # fmt: skip
    finally:
        ray.shutdown()
