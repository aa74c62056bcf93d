"""A worker whose GPU fails: its trial goes on in a new process, and so does the next one."""

import shutil
from pathlib import Path

import pytest
import torch

from results.losses import Loss

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]

FAULT = '''\
from search.experiment import Experiment


def fault() -> Experiment:
    """What becomes of a trial under which the GPU fails, and of the next?"""
    base = {"data": "digits", "epochs": 3, "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1,
            "compile": False}
    return Experiment(base=base, grid=[{"ffn": "faulty"}, {"ffn": "mlp", "ffn.mlp.hidden": 8}])
'''


def test_a_trial_whose_gpu_failed_is_trained_by_another_process(place):
    place.write("fault.py", FAULT)
    kind = shutil.copy(Path(__file__).parent / "faulty.py", place.folder)
    printed = place.run("search.run", "fault.py", "--variants", str(kind), "--concurrency", "1")
    assert "fault-1.1: the GPU failed under the trial's worker process: " in printed
    with place.store() as store:
        faulted, after = store.trials("fault-1")
    assert [(row.status, row.epochs) for row in (faulted, after)] == [("finished", 3)] * 2
    assert len(Loss.all_of(faulted.provenance)) == 1
    assert Loss.all_of(after.provenance) == []
