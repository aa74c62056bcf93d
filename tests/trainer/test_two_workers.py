"""A trial of two workers (real processes, gloo over loopback) against the same trial of one."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import checkpoint
from trainer.resolve import resolve
from trainer.trial import Trial

sys.path.insert(0, str(Path(__file__).parent))
from two_workers import TwoWorkers

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 2,
    "ffn": "fff", "ffn.fff.depth": 2, "lr": 5e-3, "dropout": 0.0,
}  # fmt: skip
COMPARED = ("train_loss", "val_loss", "val_acc", "lr")


@pytest.fixture(scope="module")
def two(digits):
    workers = TwoWorkers()
    yield workers
    workers.close()
    assert [process.exitcode for process in workers.processes] == [0, 0]


def alone(flat, folder, epochs=None):
    trial = Trial(resolve(flat, on_gpu=False), folder, device=CPU, threads=1)
    reports = []
    for report in trial.reports():
        reports.append(report)
        if len(reports) == epochs:
            break
    trial.close()
    return reports


def curve_alone(reports):
    return [[getattr(report.row, name) for name in COMPARED] for report in reports]


def curve_of_two(answers):
    """Both ranks must have said the same to the bit."""
    assert not any(isinstance(answer, str) for answer in answers), answers
    first, second = ([[report["row"][name] for name in COMPARED] for report in answer] for answer in answers)
    assert first == second
    return first


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 1e-5),
        ({"accumulation": 2, "ffn.fff.level_lr_ratio": 0.5}, 1e-5),
        ({"optimizer": "sgd", "lr": 0.05, "clip_norm": 0.1, "weight_decay": 1e-3}, 1e-5),
        ({"optimizer": "muon"}, 1e-3),  # orthogonalised in bf16, which makes more of a rounding
        ({"zero_stage": 1, "clip_norm": 0.1}, 1e-5),
        ({"zero_stage": 2, "accumulation": 2}, 1e-5),
    ],
    ids=lambda value: " ".join(f"{key}={one}" for key, one in value.items()) if isinstance(value, dict) else "",
)
def test_two_workers_give_the_curve_of_one(two, tmp_path, changes, tolerance):
    flat = {**SMALL, **changes}
    expected = alone({**flat, "zero_stage": 0}, tmp_path / "one")
    got = two.train(flat, tmp_path / "two")
    assert curve_of_two(got) == [pytest.approx(row, rel=tolerance) for row in curve_alone(expected)]
    assert got[0][-1]["test_loss"] == pytest.approx(expected[-1].test_loss, rel=tolerance)
    with (
        np.load(tmp_path / "one" / checkpoint.PREDICTIONS) as one,
        np.load(tmp_path / "two" / checkpoint.PREDICTIONS) as both,
    ):
        for split in ("val", "test"):
            assert len(one[split]) == len(both[split])
            assert (one[split] == both[split]).mean() > 0.99  # in the order of the split
    trees = [reports[0].row.extra["trees"] if hasattr(reports[0], "row") else reports[0]["row"]["extra"]["trees"]
             for reports in (expected, got[0])]  # fmt: skip
    assert trees[0]["dead_leaves"] == pytest.approx(trees[1]["dead_leaves"], abs=1e-3)
    assert "trees" not in got[1][0]["row"]["extra"]  # rank 0 alone measures them


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_zero_takes_a_model_with_an_odd_number_of_parameters(two, tmp_path, zero_stage):
    flat = {**SMALL, "ffn": "mlp", "ffn.mlp.hidden": 8, "epochs": 1}
    del flat["ffn.fff.depth"]
    assert sum(p.numel() for p in resolve(flat, on_gpu=False).model.build().parameters()) % 2 == 1
    expected = curve_alone(alone(flat, tmp_path / "one"))
    got = curve_of_two(two.train({**flat, "zero_stage": zero_stage}, tmp_path / "two"))
    assert got == [pytest.approx(row, rel=1e-5) for row in expected]


def test_auxiliary_losses_and_accuracies_by_form_are_those_of_one_worker(two, tmp_path):
    kind = {"ffn": "fff_soft", "ffn.fff_soft.depth": 2, "ffn.fff_soft.hardening_weight": 2.0}  # a mean over the tokens
    flat = {**{key: value for key, value in SMALL.items() if not key.startswith("ffn")}, **kind}
    expected = alone(flat, tmp_path / "one")
    got = two.train(flat, tmp_path / "two")
    assert curve_of_two(got) == [pytest.approx(row, rel=1e-5) for row in curve_alone(expected)]
    for old, new in zip(expected, got[0], strict=True):
        for name in ("auxiliary_loss", "val_acc_soft"):
            assert new["row"]["extra"][name] == pytest.approx(old.row.extra[name], rel=1e-4)


@pytest.mark.parametrize(
    "changes", [{}, {"zero_stage": 1}, {"zero_stage": 2, "optimizer": "sgd", "lr": 0.05, "clip_norm": 0.1}]
)
def test_a_checkpoint_is_any_number_of_workers_to_go_on_with(two, tmp_path, changes):
    flat = {**SMALL, **changes, "epochs": 3}
    expected = curve_alone(alone({**flat, "zero_stage": 0}, tmp_path / "whole"))
    curve_of_two(two.train(flat, tmp_path / "cut", epochs=1))
    content = checkpoint.load(tmp_path / "cut" / checkpoint.LAST)  # weights only
    alone(flat, tmp_path / "same", epochs=1)
    whole = checkpoint.load(tmp_path / "same" / checkpoint.LAST)
    for index, state in whole["optimizer"]["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(content["optimizer"]["state"][index][name], value, rtol=1e-3, atol=1e-6)
    alone(flat, tmp_path / "cut", epochs=2)  # reports 1 again, then trains 2 by one worker
    resumed = curve_of_two(two.train(flat, tmp_path / "cut"))
    assert resumed == [pytest.approx(row, rel=1e-5) for row in expected]


def test_each_worker_draws_dropout_of_its_own_and_a_resume_brings_all_of_it_back(two, tmp_path):
    flat = {**SMALL, "dropout": 0.3, "epochs": 3}
    whole = curve_of_two(two.train(flat, tmp_path / "whole"))
    curve_of_two(two.train(flat, tmp_path / "cut", epochs=2))
    assert curve_of_two(two.train(flat, tmp_path / "cut")) == whole  # to the bit
    states = checkpoint.load(tmp_path / "whole" / checkpoint.LAST)
    assert not torch.equal(states["rng"]["cpu"], states["rng_of_others"][0]["cpu"])


def test_the_best_epochs_checkpoint_is_tested_by_all(two, tmp_path):
    flat = {**SMALL, "select": "best", "schedule": "onecycle", "cycle_steps": 10, "lr": 0.05, "epochs": 4}
    expected = alone(flat, tmp_path / "one")
    got = two.train(flat, tmp_path / "two")
    curve_of_two(got)
    assert got[0][-1]["test_acc"] == got[1][-1]["test_acc"] == pytest.approx(expected[-1].test_acc, abs=0.02)
