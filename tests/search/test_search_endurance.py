"""Trials that hang, run out of memory or follow one another for long: real searches, real faults."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from results.losses import Loss, accumulations

pytestmark = pytest.mark.slow

HUNGRY = Path(__file__).parent / "hungry.py"
MEMORY = '''\
from search.experiment import Experiment


def memory() -> Experiment:
    """What becomes of trials that run out of memory?"""
    base = {"data": "digits", "epochs": 2, "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1,
            "dropout": 0.0, "ffn": "hungry"}
    return Experiment(base=base, grid=[{"ffn.hungry.room": room} for room in (32, 4, 128)], threads=1)
'''


def test_a_trial_that_runs_out_of_memory_trains_with_smaller_micro_batches_or_fails_with_the_mend(place):
    place.write("memory.py", MEMORY)
    printed = place.run("search.run", "memory.py", "--variants", str(HUNGRY), "--concurrency", "1")
    with place.store() as store:
        cut, hopeless, whole = store.trials("memory-1")
    assert (cut.status, cut.epochs, cut.config["accumulation"]) == ("finished", 2, 1)
    assert accumulations(cut.provenance, 1) == [(0, 4)], "128 images, then 64, then 32, which fit"
    assert [(loss.epoch, loss.accumulation) for loss in Loss.all_of(cut.provenance)] == [(0, 2), (0, 4)]
    assert (
        "memory-1.1: the GPU's memory was full with micro-batches of 64 after epoch 0; it goes on with 4 of 32"
        in printed
    )
    assert hopeless.status == "failed"
    assert hopeless.cause == (
        "the GPU's memory was full with micro-batches of 8, and smaller ones were tried or cannot be: run fewer trials at "
        "once, or give each more of a GPU"
    )
    assert (whole.status, Loss.all_of(whole.provenance)) == ("finished", [])
    assert whole.val_loss == pytest.approx(cut.val_loss, rel=1e-3), "the batch is the same, up to rounding"
    table = place.run("results.show", "memory-1").replace("\n", " ")
    assert "2 trials trained with more micro-batches a step than asked: memory-1.1, memory-1.2." in table
    # the replay does what the trial did
    printed = place.run("trainer.replay", cut.id)
    assert "up to epoch 2 with 4 micro-batches a step, as recorded" in printed
    assert "Verdict: identical" in printed


@pytest.mark.timeout(400)
def test_a_hung_worker_is_killed_and_its_trial_goes_on_and_a_suspended_driver_kills_nobody(place):
    search = place.start("search.run", "pairs.py", "--epochs", "600", "--watchdog", "3", "--concurrency", "1")
    search.wait_for(r"pairs-1\.1 .*epoch 20/600")
    os.kill(search.pid, signal.SIGSTOP)
    time.sleep(12)  # longer than a worker may be silent, 3 times 3 s
    os.kill(search.pid, signal.SIGCONT)
    search.wait_for(r"pairs-1\.1 .*epoch 40/600")
    assert "silent" not in search.output
    hung = place.worker_of("pairs-1.1")
    hung.suspend()
    search.wait_for(
        r"pairs-1\.1: the trial's worker was silent for \d+ s, where 9 s were allowed, and was killed after"
    )
    heard = len(re.findall(r"pairs-1\.1 .*epoch", search.output))
    search.wait_for(r"pairs-1\.1 .*epoch", times=heard + 5)
    assert not hung.is_running() or hung.status() == "zombie"
    search.ctrl_c()
    assert search.finish() == 130, search.output
    with place.store() as store:
        row = store.trials("pairs-1")[0]
        epochs = [epoch.epoch for epoch in store.epochs(row.id)]
    (loss,) = Loss.all_of(row.provenance)
    assert "was silent for" in loss.cause
    assert loss.epoch >= 40
    assert epochs == list(range(1, row.epochs + 1)), "none lost, none doubled"
    assert row.epochs >= loss.epoch + 5
    assert "The worker of 1 trial was lost: pairs-1.1 1 time." in place.run("results.show", "pairs-1").replace(
        "\n", " "
    )
    place.wait_until_gone(60)


def test_a_worker_that_ray_kills_for_lack_of_memory_is_said_to_have_been(place):
    """Ray's own monitor, with a limit that every machine is above."""
    search = place.start(
        "search.run", "pairs.py", "--concurrency", "1",
        RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="100",
    )  # fmt: skip
    search.wait_for(r"pairs-1\.1: the trial's worker process was killed by Ray's memory monitor")
    search.ctrl_c()
    assert search.finish() == 130, search.output
