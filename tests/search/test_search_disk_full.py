"""A search on a disk that fills up stops with one sentence, and goes on when there is space."""

import os
import subprocess
import sys

import pytest

from results.store import ENDED, Store

EXPERIMENT = '''
from search.experiment import Experiment

def tiny() -> Experiment:
    """Does it stop cleanly?"""
    return Experiment(
        base={"data": "digits", "epochs": 3, "batch_size": 128, "patch": 16, "dim": 128, "depth": 2, "heads": 2},
        grid=[{"lr": 1e-3}, {"lr": 3e-3}], seeds=(0,), concurrency=1,
    )
'''


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_search_on_a_full_disk_stops_with_a_sentence_and_goes_on_when_there_is_space(tmp_path, mount):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "size=6m")
    (disk / "tiny.py").write_text(EXPERIMENT)
    done = run(disk, "tiny.py")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: The disk is full (")
    assert "--resume tiny-1" in done.stderr
    assert "Traceback" not in done.stderr
    with Store.open(f"sqlite:///{disk}/runs/arbor.db") as store:
        assert not any(row.status in ENDED for row in store.trials("tiny-1")), "no trial failed for lack of space"

    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
    done = run(disk, "--resume", "tiny-1")
    assert done.returncode == 0, done.stdout + done.stderr
    with Store.open(f"sqlite:///{disk}/runs/arbor.db") as store:
        for row in store.trials("tiny-1"):
            assert row.status == "finished"
            assert [epoch.epoch for epoch in store.epochs(row.id)] == [1, 2, 3]


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "search.run", *arguments, "--no-dashboard"],
        cwd=folder, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
