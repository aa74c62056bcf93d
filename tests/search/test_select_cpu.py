"""What `select_cpu` times are two ways to the same gradients, on paths that differ."""

import math

import pytest
import torch

from arch_space.ffn.fff import FFFConfig
from arch_space.initialise import initialise
from experiments.select_cpu import DEPTHS, compare, gradients
from search import catalog
from trainer.timing import distinct_inputs

CPU = torch.device("cpu")


@pytest.mark.parametrize("depth", [3, 6])
def test_both_forms_give_the_gradients_of_the_same_function(depth):
    module = FFFConfig(depth=depth).build(16, 0.0)
    initialise(module, 0)
    module.double()
    x = distinct_inputs(64, 16, CPU, torch.float64)[0].requires_grad_()
    masked, gathered = (gradients(module, form, x) for form in ("masked", "gathered"))
    assert len(masked) == 4  # of input, in-rows, biases and out-rows
    for one, other in zip(masked, gathered, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other)


def test_a_small_comparison_has_finite_labelled_figures():
    rows = list(compare(3, CPU, dim=8, tokens=5, seconds=0.02))
    assert [(row["form"], row["depth"], row["nodes"], row["tokens"]) for row in rows] == [
        ("masked", 3, 15, 5),
        ("gathered", 3, 15, 5),
    ]
    for row in rows:
        assert 0 < row["low"] <= row["milliseconds"] <= row["high"] < math.inf
        assert 0 < row["times_as_fast_as_masked"] < math.inf
    assert rows[0]["times_as_fast_as_masked"] == 1


def test_it_asks_about_the_depths_of_its_question_and_its_rows_fit_its_picture():
    assert list(DEPTHS) == list(range(3, 13))
    timing = catalog.find("select_cpu")
    row = next(compare(3, CPU, dim=8, tokens=5, seconds=0.02))
    assert set(timing.columns) <= row.keys()
