"""FFF against a naive loop over samples, trees and nodes, in float64 (arXiv 2311.10770)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arch_space.ffn.fff import FFF, FFFConfig
from arch_space.initialise import initialise

SIZES = [(0, 1, 0), (0, 3, 2), (1, 1, 0), (3, 1, 0), (2, 3, 0), (4, 2, 5)]  # depth, trees, dense rows
every_size = pytest.mark.parametrize(("depth", "trees", "rows"), SIZES)
DIM = 6


def started(depth: int, trees: int, rows: int, dim: int = DIM) -> FFF:
    module = FFF(dim, depth, trees, rows)
    initialise(module, 0)
    return module.double()


def inputs(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive_paths(module: FFF, x: Tensor) -> list[list[int]]:
    """For one sample (D), the rows that each tree visits, by walking: children of node i are 2i+1 and 2i+2."""
    paths = []
    for tree in range(module.trees):
        node, path = 0, []
        for _ in range(module.depth + 1):
            row = tree * module.nodes + node
            path.append(row)
            z = sum((module.in_weight[row, i] * x[i]).item() for i in range(len(x))) + module.in_bias[row].item()
            node = 2 * node + 2 if z > 0 else 2 * node + 1
        paths.append(path)
    return paths


def naive(module: FFF, x: Tensor) -> Tensor:
    """One sample (D) -> (D), node by node, with gradients."""
    y = torch.zeros_like(x)
    for row in (row for path in naive_paths(module, x.detach()) for row in path):
        z = (module.in_weight[row] * x).sum() + module.in_bias[row]
        y = y + 0.5 * z * (1 + torch.erf(z / math.sqrt(2))) * module.out_weight[row]
    if module.dense is not None:
        for w, v in zip(module.dense.expand.weight, module.dense.contract.weight.T, strict=True):
            z = (w * x).sum()
            y = y + 0.5 * z * (1 + torch.erf(z / math.sqrt(2))) * v
    return y


@every_size
def test_both_forms_equal_the_naive_loop(depth: int, trees: int, rows: int) -> None:
    module, x = started(depth, trees, rows), inputs(4, 5, DIM)
    expected = torch.stack([torch.stack([naive(module, token) for token in image]) for image in x])
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.forward_conditional(x), expected)


@every_size
def test_the_gradients_of_both_forms_equal_those_of_the_naive_loop(depth: int, trees: int, rows: int) -> None:
    module, upstream = started(depth, trees, rows), inputs(3, 4, DIM).flip(0)
    names = ["x", *(name for name, _ in module.named_parameters())]

    def gradients(output: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((output * upstream).sum(), [x, *module.parameters()])

    x = inputs(3, 4, DIM).requires_grad_()
    expected = gradients(torch.stack([torch.stack([naive(module, token) for token in image]) for image in x]), x)
    for form in (module, module.forward_conditional):
        for name, got, wanted in zip(names, gradients(form(x), x), expected, strict=True):
            torch.testing.assert_close(got, wanted, msg=lambda text, name=name: f"{name}: {text}")


def test_nodes_that_no_sample_visits_get_no_gradient_at_all() -> None:
    module, x = started(5, 2, 0), inputs(2, 3, DIM)
    module(x).square().sum().backward()
    visited = {row for image in x for token in image for path in naive_paths(module, token) for row in path}
    for parameter in (module.in_weight, module.in_bias, module.out_weight):
        assert parameter.grad is not None
        reached = parameter.grad.reshape(len(parameter), -1).abs().sum(dim=1) > 0
        assert set(reached.nonzero().flatten().tolist()) == visited


@settings(max_examples=50)
@given(st.integers(0, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_mask_marks_exactly_one_path_from_the_root_in_every_tree(depth: int, trees: int, seed: int) -> None:
    module = FFF(1, depth, trees, 0)
    z = torch.randn(7, trees * module.nodes, generator=torch.Generator().manual_seed(seed))
    mask = module.path_mask(z)
    assert mask.dtype == torch.bool
    assert mask.shape == z.shape
    for values, visited in zip(z.view(-1, module.nodes), mask.view(-1, module.nodes), strict=True):
        node, path = 0, [0]
        for _ in range(depth):
            node = 2 * node + (2 if values[node] > 0 else 1)
            path.append(node)
        assert visited.nonzero().flatten().tolist() == path


def test_a_pre_activation_of_zero_goes_left_in_both_forms() -> None:
    module = started(1, 1, 0)
    with torch.no_grad():
        module.in_weight[0].zero_()
        module.in_bias[0].zero_()
    x = inputs(2, DIM)
    assert module.path_mask(torch.zeros(3)).tolist() == [True, True, False]
    left_only = torch.stack([naive(module, token) for token in x])
    assert naive_paths(module, x[0]) == [[0, 1]]
    torch.testing.assert_close(module(x), left_only)
    torch.testing.assert_close(module.forward_conditional(x), left_only)


def test_the_paths_of_distinct_inputs_differ_so_that_agreement_means_something() -> None:
    module, x = started(3, 1, 0), inputs(64, DIM)
    leaves = {naive_paths(module, token)[0][-1] for token in x}
    assert len(leaves) == 8


@every_size
def test_leaves_are_the_ends_of_the_naive_paths_counted_from_left_to_right(depth: int, trees: int, rows: int) -> None:
    module, x = started(depth, trees, rows), inputs(9, 4, DIM).requires_grad_()
    leaves = module.leaves(x)
    assert (leaves.dtype, leaves.requires_grad) == (torch.int64, False)
    first = 2**depth - 1  # the leftmost leaf's place in its tree
    walked = [[path[-1] % module.nodes - first for path in naive_paths(module, token)] for token in x.flatten(0, 1)]
    assert leaves.flatten(0, 1).tolist() == walked
    assert module.leaf_count == 2**depth
    assert all(0 <= leaf < module.leaf_count for leaf in leaves.flatten().tolist())


def test_a_row_s_level_is_its_place_on_every_path_through_it() -> None:
    module = started(4, 3, 2)
    levels = module.levels()
    assert set(levels) == {"in_weight", "in_bias", "out_weight"}  # the dense rows belong to no node
    for name, rows in levels.items():
        assert rows.shape == (len(getattr(module, name)),)
        for path in (path for token in inputs(200, DIM) for path in naive_paths(module, token)):
            assert rows[path].tolist() == [0, 1, 2, 3, 4]


def test_the_module_has_its_config_s_rates_by_level() -> None:
    slow_root = FFFConfig(depth=2, trees=3, level_lr_ratio=0.5)
    assert slow_root.level_rates == (0.25, 0.5, 1.0)
    equal = FFFConfig(depth=2, trees=3, level_lr_ratio=0.5, level_lr_equal_mean=True)
    assert equal.level_rates == pytest.approx((1 / 3, 2 / 3, 4 / 3))  # mean over 1, 2 and 4 neurons: 0.75
    module = equal.build(DIM, 0.0)
    assert isinstance(module, FFF)
    assert module.level_rates == equal.level_rates
    assert FFF(DIM, 2, 1, 0).level_rates == (1.0, 1.0, 1.0)


def test_only_an_evaluation_takes_the_form_that_is_asked_for() -> None:
    module, x = started(3, 2, 2), inputs(4, 5, DIM)
    module.execution = "conditional"
    assert torch.equal(module.eval()(x), module.forward_conditional(x))
    assert not torch.equal(module.train()(x), module.forward_conditional(x))  # equal but for the order of sums
    torch.testing.assert_close(module(x), module.forward_conditional(x))


def test_it_starts_within_its_bounds_and_fills_them() -> None:
    dim, depth, trees = 64, 7, 2
    module = FFF(dim, depth, trees, 8)
    initialise(module, 0)
    bounds = {"in_weight": dim**-0.5, "in_bias": dim**-0.5, "out_weight": ((depth + 1) * trees) ** -0.5}
    for name, bound in bounds.items():
        largest = getattr(module, name).abs().max().item()
        assert 0.98 * bound < largest <= bound, name
        assert abs(getattr(module, name).mean().item()) < 0.1 * bound, name
    assert module.dense is not None
    assert 0.98 * dim**-0.5 < module.dense.expand.weight.abs().max().item() <= dim**-0.5
    assert 0.98 * 8**-0.5 < module.dense.contract.weight.abs().max().item() <= 8**-0.5


def test_it_has_no_dropout_and_no_bias_on_the_way_out() -> None:
    module = FFFConfig(depth=2, trees=2, dense_rows=3).build(DIM, 0.9).train()
    assert not any(isinstance(part, torch.nn.Dropout) for part in module.modules())
    assert {name for name, _ in module.named_parameters() if "bias" in name} == {"in_bias"}


@pytest.mark.parametrize("form", ["forward", "forward_conditional"])
def test_it_runs_under_bfloat16_autocast_and_stays_near_float32(form: str) -> None:
    module = FFF(32, 4, 2, 4)
    initialise(module, 0)
    x = inputs(8, 32).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = getattr(module, form)(x)
    assert rounded.isfinite().all()
    # a pre-activation near zero may turn the other way in bfloat16, so most tokens are compared and not all
    error = (rounded.float() - module(x)).norm(dim=-1) / module(x).norm(dim=-1)
    assert (error < 0.05).sum() >= 6


def test_counts_of_neurons_nodes_and_multiply_adds_are_those_of_the_paper() -> None:
    config = FFFConfig(depth=7, trees=1)
    assert (config.nodes, config.neurons_used(512)) == (255, 8)
    assert config.macs(512, 65) == 65 * 2 * 512 * 255
    assert config.macs_conditional(512, 65) == 65 * 2 * 512 * 8
    wide = FFFConfig(depth=4, trees=6, dense_rows=8)
    assert (wide.nodes, wide.neurons_used(512)) == (186, 38)
    assert FFFConfig(depth=0, trees=12).neurons_used(512) == 12


@pytest.mark.parametrize("ratio", [0.0, -0.5, 101.0])
def test_a_ratio_of_level_rates_that_is_not_positive_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=f'"level_lr_ratio" must be at (least|most).*but got {ratio}'):
        FFFConfig(level_lr_ratio=ratio)


@pytest.mark.parametrize("wrong", [{"depth": -1}, {"depth": 21}, {"trees": 0}, {"dense_rows": -1}])
def test_sizes_that_make_no_tree_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f'"{next(iter(wrong))}" must be at (least|most)'):
        FFFConfig(**wrong)
