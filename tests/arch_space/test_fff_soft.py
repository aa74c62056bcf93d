"""The soft tree against naive loops over samples, trees, nodes and leaves, in float64 (arXiv 2308.14711)."""

import math

import pytest
import torch
from torch import Tensor

from arch_space.auxiliary import auxiliary_loss
from arch_space.execution import set_execution
from arch_space.ffn import fff_soft
from arch_space.ffn.fff_soft import FFFSoft, FFFSoftConfig
from arch_space.initialise import initialise

SIZES = [(1, 1, 1, 0), (2, 3, 1, 0), (3, 2, 2, 0), (2, 2, 3, 4)]  # depth, leaf width, trees, dense rows
every_size = pytest.mark.parametrize("size", SIZES)
DIM = 6


def started(size: tuple[int, int, int, int], **weights: float) -> FFFSoft:
    depth, leaf_width, trees, rows = size
    module = FFFSoft(DIM, FFFSoftConfig(depth=depth, leaf_width=leaf_width, trees=trees, dense_rows=rows, **weights))
    initialise(module, 0)
    return module.double()


def inputs(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gelu(z: Tensor) -> Tensor:
    return 0.5 * z * (1 + torch.erf(z / math.sqrt(2)))


def gate(module: FFFSoft, x: Tensor, tree: int, node: int) -> Tensor:
    row = tree * module.nodes + node
    return 1 / (1 + torch.exp(-(module.gate_weight[row] * x).sum() - module.gate_bias[row]))


def leaf_output(module: FFFSoft, x: Tensor, tree: int, leaf: int) -> Tensor:
    number = tree * module.leaf_count + leaf
    y = module.out_bias[number]
    for unit in range(module.leaf_width):
        row = number * module.leaf_width + unit
        y = y + gelu((module.in_weight[row] * x).sum() + module.in_bias[row]) * module.out_weight[row]
    return y


def dense_rows(module: FFFSoft, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    if module.dense is not None:
        for w, v in zip(module.dense.expand.weight, module.dense.contract.weight.T, strict=True):
            y = y + gelu((w * x).sum()) * v
    return y


def path(module: FFFSoft, leaf: int) -> list[tuple[int, bool]]:
    """The nodes above a leaf, and whether it lies to their right: from the leaf up, by halving."""
    found, number = [], leaf + module.leaf_count  # numbered from 1 through the whole tree, as a heap
    while number > 1:
        found.append((number // 2 - 1, number % 2 == 1))
        number //= 2
    return found[::-1]


def naive_soft(module: FFFSoft, x: Tensor) -> Tensor:
    y = dense_rows(module, x)
    for tree in range(module.trees):
        for leaf in range(module.leaf_count):
            p = torch.ones((), dtype=x.dtype)
            for node, right in path(module, leaf):
                g = gate(module, x, tree, node)
                p = p * (g if right else 1 - g)
            y = y + p * leaf_output(module, x, tree, leaf)
    return y


def naive_leaf(module: FFFSoft, x: Tensor, tree: int) -> int:
    node = 0
    for _ in range(module.depth):
        node = 2 * node + (2 if gate(module, x, tree, node) > 0.5 else 1)
    return node - module.nodes


def naive_hard(module: FFFSoft, x: Tensor) -> Tensor:
    y = dense_rows(module, x)
    for tree in range(module.trees):
        y = y + leaf_output(module, x, tree, naive_leaf(module, x, tree))
    return y


def naive_auxiliary(module: FFFSoft, x: Tensor, hardening: float, balance: float) -> Tensor:
    """Both losses of tokens (M, D); visits are read as plain numbers, so that no gradient runs through them."""
    entropies, imbalance = [], torch.zeros((), dtype=x.dtype)
    for tree in range(module.trees):
        for node in range(module.nodes):
            weighted, visited = torch.zeros((), dtype=x.dtype), 0.0
            for token in x:
                g = gate(module, token, tree, node)
                entropies.append(-g * torch.log(g) - (1 - g) * torch.log(1 - g))
                p, number = 1.0, node + 1
                while number > 1:
                    above = gate(module, token, tree, number // 2 - 1).item()
                    p *= above if number % 2 else 1 - above
                    number //= 2
                weighted, visited = weighted + p * g, visited + p
            imbalance = imbalance + visited / len(x) * (2 * weighted / visited - 1) ** 2
    return hardening * torch.stack(entropies).mean() + balance * imbalance / (module.trees * module.depth)


def by_token(function, module: FFFSoft, x: Tensor) -> Tensor:
    return torch.stack([torch.stack([function(module, token) for token in image]) for image in x])


@every_size
def test_training_and_the_soft_form_equal_the_naive_mixture(size: tuple[int, int, int, int]) -> None:
    module, x = started(size), inputs(4, 5, DIM)
    expected = by_token(naive_soft, module, x)
    torch.testing.assert_close(module(x), expected)
    set_execution(module, "soft")
    torch.testing.assert_close(module.eval()(x), expected)


@every_size
def test_both_hard_forms_equal_the_naive_walk_and_so_do_the_leaves(size: tuple[int, int, int, int]) -> None:
    module, x = started(size).eval(), inputs(4, 5, DIM)
    expected = by_token(naive_hard, module, x)
    for form in ("dense", "conditional"):
        set_execution(module, form)
        torch.testing.assert_close(module(x), expected)
    leaves = [[[naive_leaf(module, token, tree) for tree in range(module.trees)] for token in image] for image in x]
    assert module.leaves(x).tolist() == leaves
    assert module.leaves(x).dtype == torch.int64


@every_size
def test_the_gradient_of_training_is_that_of_the_naive_mixture(size: tuple[int, int, int, int]) -> None:
    module, upstream = started(size), inputs(3, 4, DIM).flip(0)
    x = inputs(3, 4, DIM).requires_grad_()
    names = ["x", *(name for name, _ in module.named_parameters())]
    got, wanted = (
        torch.autograd.grad((y * upstream).sum(), [x, *module.parameters()])
        for y in (module(x), by_token(naive_soft, module, x))
    )
    for name, ours, theirs in zip(names, got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")


@every_size
@pytest.mark.parametrize(("hardening", "balance"), [(0.7, 0.0), (0.0, 0.4), (2.0, 3.0)])
def test_the_auxiliary_losses_and_their_gradients_equal_the_naive_ones(
    size: tuple[int, int, int, int], hardening: float, balance: float
) -> None:
    module = started(size, hardening_weight=hardening, balance_weight=balance)
    x = inputs(2, 4, DIM).requires_grad_()
    module(x)
    got = auxiliary_loss(module)
    assert got is not None
    assert got.shape == ()
    wanted = naive_auxiliary(module, x.flatten(0, 1), hardening, balance)
    torch.testing.assert_close(got, wanted)
    learned = [x, module.gate_weight, module.gate_bias]
    for ours, theirs in zip(torch.autograd.grad(got, learned), torch.autograd.grad(wanted, learned), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_hand_worked_losses_of_one_gate() -> None:
    """Gates 0.9 for one token and 0.5 for the other: mean 0.7."""
    module = started((1, 2, 1, 0), hardening_weight=1.0, balance_weight=0.0)
    with torch.no_grad():
        module.gate_weight.copy_(torch.eye(1, DIM))
        module.gate_bias.zero_()
    x = torch.zeros(1, 2, DIM, dtype=torch.float64)
    x[0, 0, 0] = math.log(9)
    module(x)
    hardening = auxiliary_loss(module)
    assert hardening is not None
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert hardening.item() == pytest.approx((entropy + math.log(2)) / 2)
    module.hardening_weight, module.balance_weight = 0.0, 1.0
    module(x)
    balance = auxiliary_loss(module)
    assert balance is not None
    assert balance.item() == pytest.approx(0.4**2)


def test_gates_that_are_certain_make_all_forms_agree_and_cost_nothing_to_harden() -> None:
    module, x = started((3, 2, 2, 0), hardening_weight=1.0, balance_weight=0.0), inputs(4, 5, DIM)
    with torch.no_grad():
        module.gate_weight *= 1e6
        module.gate_bias *= 1e6
    soft = module(x)
    loss = auxiliary_loss(module)
    assert loss is not None
    assert loss.item() < 1e-6
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    torch.testing.assert_close(module.eval()(x), soft)


def test_balancing_is_finite_where_a_whole_side_is_never_visited() -> None:
    module, x = started((3, 2, 1, 0), hardening_weight=0.0, balance_weight=1.0).float(), inputs(4, 5, DIM).float()
    with torch.no_grad():
        module.gate_bias[0] = 1e4  # the left half has probability 0 in float32
    module(x)
    loss = auxiliary_loss(module)
    assert loss is not None
    assert 1 / 3 < loss.item() < 1
    loss.backward()
    assert module.gate_bias.grad is not None
    assert module.gate_bias.grad.isfinite().all()


def test_descending_each_loss_does_what_it_says() -> None:
    x = inputs(8, 16, DIM)
    for weights in ({"hardening_weight": 1.0, "balance_weight": 0.0}, {"hardening_weight": 0.0, "balance_weight": 1.0}):
        module = started((3, 2, 1, 0), **weights)
        optimizer = torch.optim.Adam([module.gate_weight, module.gate_bias], lr=0.05)
        losses = []
        for _ in range(100):
            module(x)
            loss = auxiliary_loss(module)
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.2 * losses[0], weights


@pytest.mark.parametrize("weights", [{"hardening_weight": 0.0, "balance_weight": 0.0}, {}])
def test_there_is_a_loss_in_training_alone_and_only_where_a_weight_asks_for_it(weights: dict[str, float]) -> None:
    module = started((2, 2, 1, 0), **weights)
    module(inputs(2, 3, DIM))
    assert (module.auxiliary_loss is None) == bool(weights)
    module.eval()(inputs(2, 3, DIM))
    assert module.auxiliary_loss is None


def test_a_gate_of_one_half_goes_left_in_both_hard_forms() -> None:
    module, x = started((1, 2, 1, 0)).eval(), inputs(3, DIM)
    with torch.no_grad():
        module.gate_weight.zero_()
        module.gate_bias.zero_()
    left = torch.stack([leaf_output(module, token, 0, 0) for token in x])
    torch.testing.assert_close(module(x), left)
    torch.testing.assert_close(module.forward_conditional(x), left)
    assert module.leaves(x).tolist() == [[0]] * 3


def test_the_conditional_form_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = started((2, 3, 2, 0)).eval(), inputs(5, 7, DIM)
    whole = module.forward_conditional(x)
    monkeypatch.setattr(fff_soft, "GATHERED", 8 * 2 * 3 * DIM)  # 8 tokens at once, which does not divide 35
    torch.testing.assert_close(module.forward_conditional(x), whole)
    monkeypatch.setattr(fff_soft, "GATHERED", 1)
    torch.testing.assert_close(module.forward_conditional(x[:1]), whole[:1])


def test_the_leaves_of_distinct_inputs_differ_so_that_agreement_means_something() -> None:
    assert len(started((3, 2, 1, 0)).leaves(inputs(256, DIM)).unique()) == 8


def test_rows_are_on_the_level_of_their_node_and_a_leaf_s_rows_on_the_last() -> None:
    module = started((2, 3, 2, 4))
    levels = module.levels()
    assert levels["gate_weight"].tolist() == [0, 1, 1, 0, 1, 1]
    assert set(levels) == {name for name, _ in module.named_parameters() if not name.startswith("dense.")}
    for name, rows in levels.items():
        assert len(rows) == len(getattr(module, name)), name
        assert name.startswith("gate") or set(rows.tolist()) == {2}, name
    assert torch.equal(levels["gate_bias"], levels["gate_weight"])
    assert (module.trees, module.leaf_count) == (2, 4)


def test_it_starts_within_its_bounds_and_fills_them() -> None:
    module = FFFSoft(64, FFFSoftConfig(depth=5, leaf_width=8, trees=2))
    initialise(module, 0)
    for name, parameter in module.named_parameters():
        bound = 16**-0.5 if name.startswith("out") else 64**-0.5
        assert 0.9 * bound < parameter.abs().max().item() <= bound, name


@pytest.mark.parametrize("form", ["training", "dense", "conditional", "soft"])
def test_it_runs_under_bfloat16_autocast_and_stays_near_float32(form: str) -> None:
    module = FFFSoft(32, FFFSoftConfig(depth=3, leaf_width=4, trees=2))
    initialise(module, 0)
    if form != "training":
        set_execution(module.eval(), form)
    x = inputs(16, 32).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = module(x)
    # a gate near one half may turn the other way in bfloat16, so most tokens are compared and not all
    error = (rounded.float() - module(x)).norm(dim=-1) / module(x).norm(dim=-1)
    assert (error < 0.05).sum() >= 14


def test_counts_are_those_of_the_formulae_by_hand() -> None:
    config = FFFSoftConfig(depth=3, leaf_width=32)
    assert (config.gates, config.leaves, config.neurons_used(512)) == (7, 8, 35)
    assert config.parameters(512) == 7 * 513 + 8 * (2 * 32 * 512 + 32 + 512) == 270_087
    assert config.macs(512, 65) == 65 * 512 * (7 + 8 * 65)
    assert config.macs_conditional(512, 65) == 65 * 512 * (3 + 64)
    wide = FFFSoftConfig(depth=2, leaf_width=4, trees=3, dense_rows=8)
    assert (wide.gates, wide.leaves, wide.neurons_used(512)) == (9, 12, 26)


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 0},
        {"depth": 17},
        {"leaf_width": 0},
        {"trees": 0},
        {"dense_rows": -1},
        {"hardening_weight": -0.1},
        {"balance_weight": -1.0},
    ],
)
def test_values_that_make_no_tree_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f'"{next(iter(wrong))}" must be at (least|most)'):
        FFFSoftConfig(**wrong)
