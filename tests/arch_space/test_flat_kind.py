"""Flat against a naive loop over samples, levels and values, in float64."""

import math

import pytest
import torch
from torch import Tensor

from arch_space.cost import cost
from arch_space.ffn.flat import Flat, FlatConfig, visited_nodes
from arch_space.initialise import initialise
from arch_space.model import ModelConfig

SIZES = [(2, 2, 0), (5, 3, 0), (6, 16, 2), (16, 7, 3), (9, 20, 0)]  # dim, hidden, dense rows
every_size = pytest.mark.parametrize(("dim", "hidden", "rows"), SIZES)
FORMS = ["forward", "forward_conditional"]


def started(dim: int, hidden: int, rows: int) -> Flat:
    module = Flat(dim, hidden, rows)
    initialise(module, 0)
    return module.double()


def inputs(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gelu(z: Tensor) -> Tensor:
    return 0.5 * z * (1 + torch.erf(z / math.sqrt(2)))


def naive_layer(x: Tensor, path: Tensor, vectors: Tensor) -> tuple[Tensor, list[int]]:
    """One sample (n_in) -> (n_out), level by level, and the nodes that it visits."""
    y, node, visited = torch.zeros(vectors.shape[1], dtype=x.dtype), 0, []
    for row in path:
        z = sum(row[i] * x[i] for i in range(len(x)))
        y = y + z * vectors[node]
        visited.append(node)
        node = 2 * node + 2 if z > 0 else 2 * node + 1
    return y, visited


def naive(module: Flat, x: Tensor) -> Tensor:
    """One sample (D) -> (D), with gradients."""
    hidden, _ = naive_layer(x, module.expand_path, module.expand_vectors)
    y, _ = naive_layer(gelu(hidden), module.contract_path, module.contract_vectors)
    if module.dense is not None:
        for w, v in zip(module.dense.expand.weight, module.dense.contract.weight.T, strict=True):
            y = y + gelu((w * x).sum()) * v
    return y


@every_size
@pytest.mark.parametrize("form", FORMS)
def test_both_forms_equal_the_naive_loop_and_so_do_their_gradients(dim: int, hidden: int, rows: int, form: str) -> None:
    module = started(dim, hidden, rows)
    x, upstream = inputs(3, 4, dim).requires_grad_(), inputs(3, 4, dim).flip(0)
    names = ["x", *(name for name, _ in module.named_parameters())]

    def gradients(output: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((output * upstream).sum(), [x, *module.parameters()])

    got = getattr(module, form)(x)
    expected = torch.stack([torch.stack([naive(module, token) for token in image]) for image in x])
    torch.testing.assert_close(got, expected)
    for name, one, other in zip(names, gradients(got), gradients(expected), strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_vectors_that_no_sample_visits_get_no_gradient_at_all() -> None:
    module, x = started(16, 16, 0), inputs(1, 3, 16)
    module(x).square().sum().backward()
    visited = {node for token in x[0] for node in naive_layer(token, module.expand_path, module.expand_vectors)[1]}
    assert module.expand_vectors.grad is not None
    reached = module.expand_vectors.grad.abs().sum(dim=1) > 0
    assert set(reached.nonzero().flatten().tolist()) == visited
    assert len(visited) < 15


def test_signs_walk_right_above_zero_and_left_at_zero_and_below() -> None:
    z = torch.tensor([[1.0, -1.0, 1.0], [0.0, 2.0, -1.0], [3.0, 1.0, 0.0], [-1.0, -1.0, 5.0]])
    assert visited_nodes(z).tolist() == [[0, 2, 5], [0, 1, 4], [0, 2, 6], [0, 1, 3]]
    assert visited_nodes(torch.tensor([-2.0])).tolist() == [0]


def test_leaves_are_those_of_the_first_tree_and_all_are_reached() -> None:
    module, x = started(16, 5, 0), inputs(8, 40, 16)
    leaves = module.leaves(x)
    assert (module.trees, module.leaf_count) == (1, 8)
    assert leaves.dtype == torch.int64
    assert leaves.shape == (8, 40, 1)
    assert not leaves.requires_grad
    walked = [naive_layer(token, module.expand_path, module.expand_vectors)[1][-1] for image in x for token in image]
    assert leaves.flatten().tolist() == [node - 7 for node in walked]
    assert set(leaves.flatten().tolist()) == set(range(8))


@every_size
def test_levels_name_every_row_of_both_trees_and_no_dense_row(dim: int, hidden: int, rows: int) -> None:
    module = started(dim, hidden, rows)
    levels, parameters = module.levels(), dict(module.named_parameters())
    assert set(levels) == {name for name in parameters if not name.startswith("dense.")}
    for name, level in levels.items():
        if name.endswith("_path"):
            assert level.tolist() == list(range(len(parameters[name])))
        else:
            depths = [(node + 1).bit_length() - 1 for node in range(len(parameters[name]))]
            assert level.tolist() == depths


def test_in_evaluation_forward_follows_the_execution_form_and_in_training_it_does_not() -> None:
    module, x = started(6, 16, 2), inputs(4, 6)
    assert module.execution == Flat.executions[0]
    module.execution = "conditional"
    for training in (False, True):
        module.train(training)
        names = {node.name() for node in _backward_graph(module(x))}
        assert ("EmbeddingBagBackward0" in names) is not training
        assert ("ScatterBackward0" in names) is training


def _backward_graph(output: Tensor) -> set[torch.autograd.graph.Node]:
    seen: set[torch.autograd.graph.Node] = set()
    todo = [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return seen


def test_it_starts_with_unit_vectors_in_all_directions_and_paths_within_their_bounds() -> None:
    module = Flat(64, 100, 0)
    initialise(module, 0)
    for vectors in (module.expand_vectors, module.contract_vectors):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        assert vectors.mean(dim=0).norm() < 3 * len(vectors) ** -0.5
    for path in (module.expand_path, module.contract_path):
        bound = path.shape[1] ** -0.5
        assert 0.95 * bound < path.abs().max().item() <= bound


@pytest.mark.parametrize("form", FORMS)
def test_it_runs_under_bfloat16_autocast_and_stays_near_float32(form: str) -> None:
    module, x = started(32, 24, 4).float(), inputs(16, 32).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = getattr(module, form)(x)
    # a path value near zero may turn the other way in bfloat16, so most tokens are compared and not all
    error = (rounded.float() - module(x)).norm(dim=-1) / module(x).norm(dim=-1)
    assert (error < 0.05).sum() >= 10


@pytest.mark.parametrize("execution", Flat.executions)
def test_it_compiles_in_one_graph_without_reading_its_data(execution: str) -> None:
    module, x = started(6, 16, 2).eval(), inputs(3, 6)
    module.execution = execution
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))


@pytest.mark.parametrize(
    ("hidden", "rows", "parameters", "used"), [(256, 0, 4_391_918, 17), (16, 0, 3_401_902, 13), (256, 8, 4_424_686, 25)]
)
def test_the_default_model_counts_what_is_published(hidden: int, rows: int, parameters: int, used: int) -> None:
    config = ModelConfig(ffn=FlatConfig(hidden=hidden, dense_rows=rows))
    priced = cost(config)
    assert (priced.parameters, priced.neurons_used) == (parameters, used)


def test_the_conditional_multiply_adds_are_those_of_a_count_by_hand() -> None:
    # paths: 9 x 512 and 8 x 256; vectors: 9 of 256 and 8 of 512; 8 dense rows: 2 x 512 x 8
    by_hand = 9 * 512 + 8 * 256 + 9 * 256 + 8 * 512 + 2 * 512 * 8
    assert FlatConfig(hidden=256, dense_rows=8).macs_conditional(512, 65) == 65 * by_hand


@pytest.mark.parametrize("wrong", [{"hidden": 1}, {"hidden": 0}, {"dense_rows": -1}])
def test_sizes_that_make_no_tree_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f'"{next(iter(wrong))}" must be at least'):
        FlatConfig(**wrong)


def test_a_model_one_wide_is_refused_because_no_sign_could_choose() -> None:
    with pytest.raises(ValueError, match='"dim" must be at least 2 for the feed-forward kind flat'):
        cost(ModelConfig(dim=1, ffn=FlatConfig()))
    with pytest.raises(ValueError, match='"dim" must be at least 2 for the feed-forward kind flat'):
        FlatConfig().build(1, 0.0)
