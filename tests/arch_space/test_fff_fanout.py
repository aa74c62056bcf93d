"""The k-way tree against a naive loop over samples, trees, groups and neurons, in float64 (science.md, arXiv 2311.10770)."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from typer.testing import CliRunner

from arch_space.cost import cost
from arch_space.ffn.fff_fanout import FFFFanout, FFFFanoutConfig, groups_in
from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from arch_space.show import app

SIZES = [  # fanout, depth, trees, dense rows
    (2, 0, 1, 0),
    (3, 0, 2, 2),
    (2, 1, 1, 0),
    (2, 3, 2, 0),
    (3, 2, 3, 4),
    (4, 3, 1, 0),
    (5, 2, 2, 0),
]
every_size = pytest.mark.parametrize(("fanout", "depth", "trees", "rows"), SIZES)
both_choices = pytest.mark.parametrize("choice", ["hard", "weighted"])
DIM = 6


def started(fanout: int, depth: int, trees: int, rows: int, choice: str, dim: int = DIM) -> FFFFanout:
    config = FFFFanoutConfig(fanout=fanout, depth=depth, trees=trees, dense_rows=rows, choice=choice)
    module = config.build(dim, 0.0)
    assert isinstance(module, FFFFanout)
    initialise(module, 0)
    return module.double()


def inputs(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive_nodes(fanout: int, depth: int) -> int:
    """Groups of a tree, counted level by level."""
    nodes, on_level = 0, 1
    for _ in range(depth + 1):
        nodes += on_level
        on_level *= fanout
    return nodes


def naive_path(values: list[float], fanout: int, depth: int) -> list[int]:
    """The groups of one tree that are visited, given its pre-activations, group after group."""
    group, path = 0, [0]
    for _ in range(depth):
        best = 0
        for j in range(1, fanout):
            if values[fanout * group + j] > values[fanout * group + best]:
                best = j
        group = fanout * group + 1 + best
        path.append(group)
    return path


def gelu(z: Tensor) -> Tensor:
    return 0.5 * z * (1 + torch.erf(z / math.sqrt(2)))


def naive(module: FFFFanout, x: Tensor) -> Tensor:
    """One sample (D) -> (D), tree by tree, group by group, neuron by neuron, with gradients."""
    k, y = module.fanout, torch.zeros_like(x)
    size = k * naive_nodes(k, module.depth)
    for tree in range(module.trees):
        z = [(module.in_weight[row] * x).sum() + module.in_bias[row] for row in range(tree * size, (tree + 1) * size)]
        path = naive_path([value.item() for value in z], k, module.depth)
        factor = torch.ones((), dtype=x.dtype)
        for group, child in pairwise([*path, None]):
            for j in range(k):
                y = y + factor * gelu(z[k * group + j]) * module.out_weight[tree * size + k * group + j]
            if module.weighted and child is not None:
                exponentials = [z[k * group + j].exp() for j in range(k)]
                factor = exponentials[child - k * group - 1] / sum(exponentials)
    if module.dense is not None:
        for w, v in zip(module.dense.expand.weight, module.dense.contract.weight.T, strict=True):
            y = y + gelu((w * x).sum()) * v
    return y


@both_choices
@every_size
def test_both_forms_equal_the_naive_loop(fanout: int, depth: int, trees: int, rows: int, choice: str) -> None:
    module, x = started(fanout, depth, trees, rows, choice), inputs(3, 4, DIM)
    expected = torch.stack([torch.stack([naive(module, token) for token in image]) for image in x])
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.forward_conditional(x), expected)


@both_choices
@every_size
def test_the_gradients_of_both_forms_equal_those_of_the_naive_loop(
    fanout: int, depth: int, trees: int, rows: int, choice: str
) -> None:
    module, upstream = started(fanout, depth, trees, rows, choice), inputs(2, 3, DIM).flip(0)
    names = ["x", *(name for name, _ in module.named_parameters())]

    def gradients(output: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((output * upstream).sum(), [x, *module.parameters()])

    x = inputs(2, 3, DIM).requires_grad_()
    expected = gradients(torch.stack([torch.stack([naive(module, token) for token in image]) for image in x]), x)
    for form in (module, module.forward_conditional):
        for name, got, wanted in zip(names, gradients(form(x), x), expected, strict=True):
            torch.testing.assert_close(got, wanted, msg=lambda text, name=name: f"{name}: {text}")


@both_choices
def test_neurons_that_no_sample_visits_get_no_gradient_at_all(choice: str) -> None:
    module, x = started(3, 3, 2, 0, choice), inputs(2, 2, DIM)
    module(x).square().sum().backward()
    size = module.fanout * naive_nodes(3, 3)
    visited = set()
    for token in x.flatten(0, 1):
        z = (module.in_weight @ token + module.in_bias).tolist()
        for tree in range(2):
            for group in naive_path(z[tree * size : (tree + 1) * size], 3, 3):
                visited |= {tree * size + 3 * group + j for j in range(3)}
    assert len(visited) < 2 * size
    for parameter in (module.in_weight, module.in_bias, module.out_weight):
        assert parameter.grad is not None
        reached = parameter.grad.reshape(len(parameter), -1).abs().sum(dim=1) > 0
        assert set(reached.nonzero().flatten().tolist()) == visited


def test_only_the_weighted_choice_teaches_neurons_whose_own_output_is_nothing() -> None:
    for choice in ("hard", "weighted"):
        module = started(4, 1, 1, 0, choice)
        with torch.no_grad():
            module.out_weight[:4].zero_()
        module(inputs(8, DIM)).sum().backward()
        assert module.in_weight.grad is not None
        assert bool((module.in_weight.grad[:4] != 0).all()) == (choice == "weighted")
        assert bool((module.in_weight.grad[:4] == 0).all()) == (choice == "hard")


def test_the_probability_is_that_of_the_last_choice_and_not_the_product_down_the_path() -> None:
    module = started(4, 3, 1, 0, "weighted")
    with torch.no_grad():
        module.in_weight.zero_()
        module.in_bias.zero_()  # every choice has the probability 1/4, and the first of equal ones wins
    z = torch.zeros(1, groups_in(4, 3), 4, dtype=torch.float64)
    factors = module.factors(z)[0]
    assert {group: factors[group].item() for group in factors.nonzero().flatten().tolist()} == {
        0: 1.0,
        1: 0.25,
        5: 0.25,
        21: 0.25,
    }


def test_the_choice_is_taken_before_gelu_which_is_not_monotonic() -> None:
    module = started(2, 1, 1, 0, "hard")
    z = torch.tensor([-0.7, -4.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert gelu(z[0]) < gelu(z[1])
    visited, choices = module.walk(z.view(3, 2))
    assert (visited.tolist(), choices.tolist()) == ([0, 1], [0])


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(0, 4), st.integers(1, 3), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_the_factors_mark_exactly_one_path_in_every_tree_and_padded_groups_change_nothing(
    fanout: int, depth: int, trees: int, padding: int, seed: int
) -> None:
    module = started(fanout, depth, trees, 0, "hard", dim=1)
    groups = groups_in(fanout, depth)
    z = torch.randn(5, trees * groups, fanout, generator=torch.Generator().manual_seed(seed))
    padded = torch.cat((z, torch.full((5, padding, fanout), 9.0)), 1)
    factors = module.factors(padded)
    assert factors.shape == (5, trees * groups + padding)
    assert not factors[:, trees * groups :].any()
    assert torch.equal(factors[:, : trees * groups], module.factors(z))
    for values, row in zip(z.view(5 * trees, -1), module.factors(z).view(5 * trees, groups), strict=True):
        path = naive_path(values.tolist(), fanout, depth)
        assert row.nonzero().flatten().tolist() == path
        assert row[path].tolist() == [1.0] * (depth + 1)


@both_choices
def test_equal_pre_activations_go_to_the_first_child_in_both_forms(choice: str) -> None:
    module = started(3, 2, 2, 0, choice)
    with torch.no_grad():
        module.in_weight.zero_()
        module.in_bias.zero_()
        module.in_bias[1] = module.in_bias[2] = 1.0  # of the first tree's root, the second and the third
    x = inputs(2, DIM)
    assert module.leaves(x).tolist() == [[3, 0], [3, 0]]
    expected = torch.stack([naive(module, token) for token in x])
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.forward_conditional(x), expected)


def test_leaves_are_counted_from_the_left_of_each_tree_and_all_are_reached() -> None:
    module, x = started(3, 2, 2, 0, "hard"), inputs(40, 5, DIM)
    leaves = module.leaves(x)
    assert leaves.dtype == torch.int64
    assert leaves.shape == (40, 5, 2)
    assert not leaves.requires_grad
    assert module.leaf_count == 9
    assert set(leaves.flatten().tolist()) == set(range(9))
    z = (x @ module.in_weight.T + module.in_bias).flatten(0, 1).unflatten(-1, (2, -1))
    for values, leaf in zip(z.flatten(0, 1), leaves.flatten(), strict=True):
        path = naive_path(values.tolist(), 3, 2)
        assert path[-1] - 4 == leaf  # a root and three groups come before the leaves


def test_levels_name_every_row_that_belongs_to_a_neuron() -> None:
    module = started(3, 2, 2, 4, "hard")
    levels = module.levels()
    assert set(levels) == {"in_weight", "in_bias", "out_weight"}
    one_tree = [0] * 3 + [1] * 9 + [2] * 27
    for name, rows in levels.items():
        assert rows.dtype == torch.int64
        assert rows.tolist() == 2 * one_tree
        assert len(rows) == len(module.get_parameter(name))


def test_the_rates_by_level_are_the_leaves_times_a_power_of_the_ratio() -> None:
    assert FFFFanoutConfig().level_rates == (1.0, 1.0, 1.0, 1.0)
    config = FFFFanoutConfig(fanout=3, depth=2, level_lr_ratio=0.5)
    assert config.level_rates == (0.25, 0.5, 1.0)
    module = FFFFanoutConfig(fanout=3, depth=2, level_lr_ratio=0.5, level_lr_equal_mean=True).build(DIM, 0.0)
    assert isinstance(module, FFFFanout)
    by_row = torch.tensor(module.level_rates)[module.levels()["in_bias"]]
    assert by_row.mean().item() == pytest.approx(1)
    assert by_row[0] / by_row[-1] == pytest.approx(0.25)


@both_choices
def test_in_evaluation_the_execution_decides_the_form_and_the_conditional_one_reads_only_what_is_visited(
    choice: str,
) -> None:
    module, x = started(3, 2, 2, 0, choice), inputs(DIM)
    expected = naive(module, x)
    visited, _ = module.walk((module.in_weight @ x + module.in_bias).view(-1, 3))
    with torch.no_grad():
        groups = module.out_weight.view(-1, 3, DIM)
        kept = groups[visited].clone()
        groups.fill_(math.nan)  # 0 times this is not 0: the dense form betrays itself
        groups[visited] = kept
    assert (module.executions, module.execution) == (("dense", "conditional"), "dense")
    assert module.eval()(x).isnan().all()
    module.execution = "conditional"
    torch.testing.assert_close(module(x), expected)
    assert module.train()(x).isnan().all(), "training takes the training form whatever is said for inference"


def test_the_choice_changes_neither_the_parameters_nor_their_start() -> None:
    hard, weighted = (started(4, 2, 1, 0, choice) for choice in ("hard", "weighted"))
    for (name, one), (other_name, other) in zip(hard.named_parameters(), weighted.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one, other)
    assert not torch.allclose(hard(inputs(3, DIM)), weighted(inputs(3, DIM)))


def test_it_starts_within_its_bounds_and_fills_them() -> None:
    dim, depth, trees = 64, 3, 2
    module = FFFFanoutConfig(depth=depth, trees=trees, dense_rows=8).build(dim, 0.0)
    initialise(module, 0)
    bounds = {"in_weight": dim**-0.5, "in_bias": dim**-0.5, "out_weight": ((depth + 1) * trees) ** -0.5}
    for name, bound in bounds.items():
        parameter = module.get_parameter(name)
        largest = parameter.abs().max().item()
        assert 0.98 * bound < largest <= bound, name
        assert abs(parameter.mean().item()) < 0.1 * bound, name
    assert 0.98 * dim**-0.5 < module.get_parameter("dense.expand.weight").abs().max().item() <= dim**-0.5


def test_it_has_no_dropout_and_no_bias_on_the_way_out() -> None:
    module = FFFFanoutConfig(dense_rows=3).build(DIM, 0.9).train()
    assert not any(isinstance(part, nn.Dropout) for part in module.modules())
    assert {name for name, _ in module.named_parameters() if "bias" in name} == {"in_bias"}


@both_choices
@pytest.mark.parametrize("form", ["forward", "forward_conditional"])
def test_it_runs_under_bfloat16_autocast_and_stays_near_float32(form: str, choice: str) -> None:
    module, x = started(3, 2, 2, 4, choice, dim=32).float(), inputs(16, 32).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = getattr(module, form)(x)
    assert rounded.isfinite().all()
    # two close pre-activations may change places in bfloat16, so most tokens are compared and not all
    error = (rounded.float() - module(x)).norm(dim=-1) / module(x).norm(dim=-1)
    assert (error < 0.05).sum() >= 12


@both_choices
@pytest.mark.parametrize("form", ["forward", "forward_conditional"])
def test_it_is_traced_whole_so_that_nothing_in_it_waits_for_a_value(form: str, choice: str) -> None:
    module, x = started(3, 2, 2, 4, choice), inputs(4, 5, DIM).requires_grad_()
    traced = torch.compile(getattr(module, form), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(traced(x), module(x))
    got, wanted = (torch.autograd.grad(call(x).square().sum(), module.parameters()) for call in (traced, module))
    torch.testing.assert_close(got, wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@both_choices
@pytest.mark.parametrize(("fanout", "trees"), [(2, 3), (3, 1), (4, 1), (5, 2)])
def test_rows_padded_for_a_gpu_change_nothing_also_when_recorded(fanout: int, trees: int, choice: str) -> None:
    module, x = started(fanout, 2, trees, 3, choice), inputs(4, 5, DIM)
    wanted = (module(x), *torch.autograd.grad(module(x).square().sum(), module.parameters()))
    module, x = module.cuda(), x.cuda()

    def step() -> tuple[Tensor, ...]:
        y = module(x)
        return (y, *torch.autograd.grad(y.square().sum(), module.parameters()))

    def compare(got: tuple[Tensor, ...]) -> None:
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one.cpu(), other)

    compare(step())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    graph.replay()
    compare(recorded)


@pytest.mark.parametrize(
    ("flat", "parameters", "neurons_used"),
    [
        ({}, 4_713_790, 16),
        ({"ffn.fff_fanout.choice": "weighted"}, 4_713_790, 16),
        # outside the feed-forwards 3,319,790; a block's has P k (k^(d+1) - 1) / (k - 1) neurons of 1,025 numbers
        ({"ffn.fff_fanout.fanout": 2, "ffn.fff_fanout.depth": 6}, 3_319_790 + 4 * 254 * 1_025, 14),
        ({"ffn.fff_fanout.fanout": 3, "ffn.fff_fanout.depth": 2}, 3_319_790 + 4 * 39 * 1_025, 9),
        (
            {"ffn.fff_fanout.fanout": 8, "ffn.fff_fanout.depth": 1, "ffn.fff_fanout.trees": 3},
            3_319_790 + 4 * 3 * 72 * 1_025,
            48,
        ),
        ({"ffn.fff_fanout.dense_rows": 8, "layout": "pair"}, 4_713_790 + 4 * (1_024 + 348_500 + 2 * 8_192), 48),
    ],
)
def test_a_whole_model_has_the_published_count_and_the_right_one_for_every_fanout(
    flat: dict[str, object], parameters: int, neurons_used: int
) -> None:
    priced = cost(ModelConfig.from_flat({"ffn": "fff_fanout", **flat}))
    assert (priced.parameters, priced.neurons_used) == (parameters, neurons_used)


def test_groups_and_multiply_adds_are_counted_to_the_unit() -> None:
    for fanout in range(2, 9):
        for depth in range(5):
            assert groups_in(fanout, depth) == naive_nodes(fanout, depth)
    config = FFFFanoutConfig(fanout=4, depth=3, trees=2, dense_rows=8)
    assert (config.neurons, config.neurons_used(16)) == (680, 40)
    assert config.macs(512, 65) == 65 * 2 * 512 * 688
    assert config.macs_conditional(512, 65) == 65 * 2 * 512 * 40


def test_a_match_may_vary_fields_that_are_there() -> None:
    assert FFFFanoutConfig.widths == ("trees", "dense_rows")
    assert set(FFFFanoutConfig.widths) <= set(FFFFanoutConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("fanout", "1", "must be at least 2, but got 1."),
        ("fanout", "1025", "must be at most 1024, but got 1025."),
        ("depth", "-1", "must be at least 0, but got -1."),
        ("depth", "10", "must be at most 9 at fanout 4, but got 10."),
        ("trees", "0", "must be at least 1, but got 0."),
        ("dense_rows", "-1", "must be at least 0, but got -1."),
        ("choice", "soft", "must be one of hard, weighted, but got 'soft'."),
        ("level_lr_ratio", "0", "must be at least 0.01, but got 0.0."),
        ("level_lr_ratio", "-1", "must be at least 0.01, but got -1.0."),
        ("level_lr_equal_mean", "perhaps", "must be true or false, but got 'perhaps'."),
    ],
)
def test_what_makes_no_tree_is_refused_in_one_sentence(field: str, value: str, rule: str) -> None:
    done = CliRunner().invoke(app, ["ffn=fff_fanout", f"ffn.fff_fanout.{field}={value}"])
    assert done.exit_code == 2
    assert done.stderr == f'Error: "ffn.fff_fanout.{field}" {rule}\n'


def test_a_choice_that_is_no_choice_is_refused_in_code_too() -> None:
    with pytest.raises(ValueError, match='"choice" must be one of hard, weighted'):
        FFFFanoutConfig(choice="soft")  # type: ignore[arg-type]


def test_the_largest_trees_that_are_allowed_are_allowed() -> None:
    assert FFFFanoutConfig(fanout=2, depth=19).neurons == 2**21 - 2
    assert FFFFanoutConfig(fanout=1024, depth=1).neurons == 1024 * 1025
