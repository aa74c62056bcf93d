"""What is compiled before a trial's own process has imported torch: which jobs there are, and who starts them."""

import time
from functools import partial

import psutil
import pytest
import torch

from experiments.fast import fast
from trainer import ahead, muon
from trainer.compile_ahead import jobs_of, run_forked
from trainer.config import TrialConfig
from trainer.muon import batch_shapes, orthogonalise_all
from trainer.optimizer import parts_of

LONG = {**fast().base, "ffn": "mlp", "precision": "bf16"}
"""A trial that repays compiled code, with all kernels."""
KIND = """
from dataclasses import dataclass
from arch_space.ffn.mlp import MLPConfig
from arch_space.registry import FFN

@FFN.register("far_away")
@dataclass(frozen=True, kw_only=True, slots=True)
class FarAway(MLPConfig):
    pass
"""


def names(**changes):
    config = TrialConfig.from_flat({**LONG, **changes})
    return [job.func.__name__ for job in jobs_of(config, 45_000)]


def test_a_long_trial_has_its_kernels_and_then_each_region_compiled():
    assert names() == ["attend", "attend", "multiply", "make_one_of", "make_one_of", "make_one_of"]
    assert names(depth=1).count("make_one_of") == 2  # the first block is the last one


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"compile": False}, {"deterministic": True}])
def test_no_region_where_the_trial_will_not_take_it_up(changes):
    assert names(**changes) == ["attend", "attend", "multiply"]


def test_kernels_are_those_that_the_trial_will_call():
    assert names(epochs=3, optimizer="adamw") == ["attend", "attend"]
    assert names(epochs=3, precision="fp32", optimizer="sgd") == []


@pytest.mark.parametrize("changes", [{}, {"layout": "pair"}, {"dim": 64, "heads": 2, "ffn.mlp.hidden": 1024}])
def test_muons_batches_are_known_before_there_is_a_gradient(changes, monkeypatch):
    config = TrialConfig.from_flat({**LONG, **changes})
    matrices, _, _ = parts_of(config.model.build(), config)
    seen = []
    monkeypatch.setattr(muon, "orthogonalise", lambda batch: seen.append(tuple(batch.shape)) or batch)
    # as the step stacks them
    stacks = [
        torch.stack([p.detach() for p in parameters]).unflatten(1, (pieces, -1)).flatten(0, 1)
        for pieces, parameters in muon._alike(matrices)
    ]
    orthogonalise_all(stacks, together=True)
    assert batch_shapes(matrices) == seen


@pytest.fixture
def gpu_file(tmp_path, monkeypatch):
    file = tmp_path / "nvidiactl"
    monkeypatch.setattr(ahead, "_GPU", file)
    monkeypatch.setattr(ahead, "_process", None)
    return file


def test_nothing_is_started_without_a_gpu(gpu_file, monkeypatch):
    ahead.compile_ahead({})
    assert ahead._process is None
    gpu_file.touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ahead.compile_ahead({})
    assert ahead._process is None
    assert not ahead.compiles_ahead()


def test_the_process_finds_data_and_kinds_from_where_the_user_stands(gpu_file, digits, tmp_path, monkeypatch):
    gpu_file.touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kind.py").write_text(KIND)
    flat = {
        "data": "digits",
        "precision": "fp32",
        "epochs": "1",
    }  # text, as from a command line; there is nothing to do
    for kind, code in (("far_away", 0), ("nowhere", 1)):
        ahead.compile_ahead({**flat, "ffn": kind}, ["kind.py"])
        assert ahead.compiles_ahead()
        end = time.monotonic() + 60
        while psutil.pid_exists(ahead._process.pid) and time.monotonic() < end:  # nobody here waits for it
            time.sleep(0.05)
        assert ahead._process.wait(5) == code
        assert not ahead.compiles_ahead()


def test_a_job_that_hangs_is_killed_and_the_others_end_by_themselves(tmp_path):
    made = tmp_path / "made"
    jobs = [partial(time.sleep, 3600), made.touch, partial(int, "no number")]
    began = time.monotonic()
    run_forked(jobs, most_seconds=2)
    assert made.exists()
    assert time.monotonic() - began < 60
