"""The tree of neurons against a loop that walks it sample by sample, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from arch_space.ffn.fff import FFFConfig
from arch_space.initialise import initialise

DIM = 6


def built(depth, trees, rows=0, seed=0, dim=DIM):
    module = FFFConfig(depth=depth, trees=trees, dense_rows=rows).build(dim, dropout=0.0)
    initialise(module, seed)
    return module.double()


def inputs(count, seed=0, dim=DIM):
    return torch.randn(2, count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive(module, x):
    """Every token walks every tree: from the root, right where the neuron's input is above 0, else left."""
    nodes = 2 ** (module.depth + 1) - 1
    rows = []
    for token in x.reshape(-1, x.shape[-1]):
        total = torch.zeros_like(token)
        for tree in range(module.trees):
            node = 0
            for _ in range(module.depth + 1):
                row = tree * nodes + node
                z = module.in_weight[row] @ token + module.in_bias[row]
                total = total + F.gelu(z) * module.out_weight[row]
                node = 2 * node + (2 if z.item() > 0 else 1)
        if module.dense is not None:
            total = total + module.dense.contract.weight @ F.gelu(module.dense.expand.weight @ token)
        rows.append(total)
    return torch.stack(rows).reshape(x.shape)


@pytest.mark.parametrize(("depth", "trees", "rows"), [(0, 1, 0), (1, 1, 0), (3, 1, 0), (2, 3, 0), (4, 2, 3)])
def test_forward_and_gradients_are_those_of_the_walk(depth, trees, rows):
    module = built(depth, trees, rows)
    x = inputs(7).requires_grad_()
    gradients = []
    for form in (module, lambda value: naive(module, value)):
        module.zero_grad()
        x.grad = None
        y = form(x)
        (y * torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape).cos()).sum().backward()
        gradients.append((y.detach(), x.grad.clone(), *(p.grad.clone() for p in module.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(0, 6), trees=st.integers(1, 4), rows=st.integers(0, 3), seed=st.integers(0, 1000))
def test_training_form_and_conditional_form_agree(depth, trees, rows, seed):
    module = built(depth, trees, rows, seed)
    x = inputs(9, seed)
    torch.testing.assert_close(module(x), module.forward_conditional(x))


def test_an_input_visits_depth_plus_one_nodes_of_each_tree_and_paths_are_connected():
    module = built(4, 3)
    z = F.linear(inputs(50), module.in_weight, module.in_bias)
    mask = module.path_mask(z).unflatten(-1, (3, 31))
    assert (mask.sum(-1) == 5).all()
    for node in range(1, 31):
        assert not (mask[..., node] & ~mask[..., (node - 1) // 2]).any(), "a visited node has a visited parent"


def test_all_leaves_are_reached_by_some_input():
    module = built(3, 1, dim=32)
    z = F.linear(inputs(4000, dim=32), module.in_weight, module.in_bias)
    assert module.path_mask(z)[..., 7:].any(dim=(0, 1)).all()


def test_the_choice_at_exactly_zero_goes_left():
    module = built(1, 1)
    torch.nn.init.zeros_(module.in_bias)
    mask = module.path_mask(torch.zeros(1, 3, dtype=torch.float64))
    assert mask.tolist() == [[True, True, False]]


@pytest.mark.parametrize(("depth", "trees"), [(7, 1), (5, 4)])
def test_weights_start_in_sciences_ranges_and_fill_them(depth, trees):
    dim = 64
    module = FFFConfig(depth=depth, trees=trees).build(dim, dropout=0.0)
    initialise(module, 0)
    for weight, bound in (
        (module.in_weight, dim**-0.5),
        (module.in_bias, dim**-0.5),
        (module.out_weight, ((depth + 1) * trees) ** -0.5),
    ):
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.95 * bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_the_counts_of_neurons_used_are_sciences():
    assert FFFConfig(depth=7, trees=1).neurons_used == 8
    assert FFFConfig(depth=4, trees=6, dense_rows=8).neurons_used == 38
