"""Learning rates, step by step, in optimizer steps."""

import math

import pytest
import torch

from trainer.config import TrialConfig
from trainer.schedule import factor_by_step, onecycle, steps_per_epoch, warmup_cosine, warmup_linear


def test_an_epoch_is_its_whole_batches():
    assert steps_per_epoch(45_000, 512) == 87
    assert steps_per_epoch(64, 64) == 1


def test_warmup_rises_linearly_to_the_highest_rate_and_cosine_falls_towards_zero():
    factors = [warmup_cosine(step, warmup=4, total=12) for step in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[8] == pytest.approx(0.5)
    assert factors == sorted(factors[:5]) + sorted(factors[5:], reverse=True)
    assert 0 < factors[-1] < 0.05


def test_linear_decay_ends_one_step_above_zero():
    factors = [warmup_linear(step, warmup=2, total=10) for step in range(11)]
    assert factors == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
    config = TrialConfig(epochs=10, warmup_epochs=0.0, schedule="linear")
    assert factor_by_step(config, steps_an_epoch=50)(250) == 0.5


def test_lengths_in_epochs_become_optimizer_steps_once():
    factor = factor_by_step(TrialConfig(epochs=10, warmup_epochs=2.0), steps_an_epoch=50)
    assert factor(99) == 1.0
    assert factor(100) == 1.0
    assert factor(300) == pytest.approx(0.5 * (1 + math.cos(math.pi * 200 / 400)))


def test_onecycle_is_torchs_own_rate_for_rate():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=40, cycle_momentum=False)
    for step in range(40):
        assert 4e-3 * onecycle(step, 40) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < 39:
            theirs.step()


def test_onecycle_stays_at_its_end_when_training_goes_on():
    assert onecycle(5000, 4000) == onecycle(3999, 4000) == pytest.approx(1 / 250_000)
